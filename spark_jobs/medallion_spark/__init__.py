"""The Spark code of the jobs: pure DataFrame -> DataFrame transforms apart from IO."""
