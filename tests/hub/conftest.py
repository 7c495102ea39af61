"""What several tests of the hub stand on."""

import pytest
from psycopg import AsyncConnection

from tests.hub.cold_room import cold_room


@pytest.fixture
async def room(db: AsyncConnection) -> AsyncConnection:
    """One cold room, 2 to 8 degrees with ten minutes' delay, and its probe's series 1."""
    return await cold_room(db)
