"""Sites, locations, products and destinations."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Depends, Query

from api.auth import allowed
from api.context import Db, Here
from api.permissions import Permission
from api.shapes import LARGEST_ID, LIST_MAX, Filter, Limit, Named
from hub.services import directory, dispatch_views, master_data
from hub.services.people import Caller

router = APIRouter(tags=["master data"])
_EXAMPLE: Final = {"sites": [{"site": "depot", "name_zh": "中心仓库", "name_en": "Depot"}]}
_READ = [Depends(allowed(Permission.MASTER_DATA_READ))]


class Site(Named):
    """A place with an address: a depot, a clinic. Degrees WGS 84."""

    site: str
    time_zone: str
    latitude: float | None
    longitude: float | None


class Location(Named):
    """A place within a site. A gate receives into one location and puts doubtful goods into another."""

    location: str
    site: str
    parent: str | None
    role: Literal["gate", "zone", "cold_room", "refrigerator", "quarantine", "vehicle"]
    storage_class: str
    receives_into: str | None
    quarantines_into: str | None


class Product(Named):
    """A kind of goods. With less than `short_dated_days` to its expiry a lot is short-dated."""

    gtin: str
    unit: str
    storage_class: str
    short_dated_days: int


class Destination(Named):
    """A place that is delivered to. Degrees WGS 84."""

    destination: str
    latitude: float
    longitude: float


@router.post("/master-data", summary="Load master data")
async def load(
    db: Db,
    here: Here,
    me: Annotated[Caller, Depends(allowed(Permission.MASTER_DATA_WRITE))],
    body: Annotated[dict[str, Any], Body(examples=[_EXAMPLE])],
) -> dict[str, int]:
    """Takes the same document as `quartermaster load`: all of it or nothing, and the same again changes nothing.

    Tells how many rows of each table were added or changed. Every fault is named with its path.
    """
    return await master_data.load(db, body, here.now(), me.actor)


@router.get("/sites", summary="Sites", dependencies=_READ)
async def sites(db: Db) -> list[Site]:
    """By name."""
    return [Site.model_validate(row) for row in await directory.list_sites(db)]


@router.get("/locations", summary="Locations", dependencies=_READ)
async def locations(db: Db, site: Filter = None, role: Filter = None) -> list[Location]:
    """By site and name."""
    return [Location.model_validate(row) for row in await directory.list_locations(db, site=site, role=role)]


@router.get("/products", summary="Products", dependencies=_READ)
async def products(
    db: Db, q: Filter = None, limit: Limit = LIST_MAX, offset: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0
) -> list[Product]:
    """By GTIN; `q` is looked for in GTIN and names."""
    return [Product.model_validate(row) for row in await directory.list_products(db, q=q, limit=limit, offset=offset)]


@router.get("/destinations", summary="Destinations", dependencies=_READ)
async def destinations(db: Db) -> list[Destination]:
    """By name."""
    return [Destination.model_validate(row) for row in await dispatch_views.list_destinations(db)]
