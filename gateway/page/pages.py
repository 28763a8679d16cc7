"""All pages together, as the HTTP application takes them in. A door."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from sqlalchemy import Engine

from gateway.api.house import House
from gateway.page import frame
from gateway.page.health import HealthPages
from gateway.page.invitations import InvitationPages
from gateway.page.joins import JoinPages
from gateway.page.pals import PalPages
from gateway.page.session import Sessions
from gateway.page.sign_in import SignInPages
from scheduler.platform import Platform


def install(app: FastAPI, house: House, sessions: Sessions, platforms: Mapping[str, Platform]) -> None:
    """Add the pages to the application of `web.make_app`."""
    lookups: Engine = app.state.lookups
    app.state.sessions = sessions
    app.state.is_https = house.feeds.public_url.startswith("https://")
    assets = frame.router()
    frame.add_assets(assets)
    for routes in (
        assets,
        SignInPages(sessions).router,
        JoinPages(house, lookups).router,
        InvitationPages(house, lookups).router,
        PalPages(house, lookups).router,
        HealthPages(lookups, platforms).router,
    ):
        app.include_router(routes)
