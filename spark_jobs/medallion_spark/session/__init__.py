"""The Spark session of every job, its login to the lake and its secrets."""
