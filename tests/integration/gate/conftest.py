"""A migrated gold database for each test."""

import pytest

from medallion_ops.migrations.runner import migrate
from medallion_store.secret import Secret
from staged_sets import DATASET, GoldDatabase


@pytest.fixture
def gold(postgres: str) -> GoldDatabase:
    migrate(Secret(postgres), DATASET)
    return GoldDatabase(postgres)
