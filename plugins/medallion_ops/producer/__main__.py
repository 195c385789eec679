"""`python -m medallion_ops.producer --help`."""

from medallion_ops.producer.cli import main

raise SystemExit(main())
