"""What a server needs to know who asks, built as the environment says."""

from __future__ import annotations

from configs.settings import Settings
from pipelines.store.accounts import Accounts
from pipelines.store.database import Database
from pipelines.store.login_attempts import LoginAttempts
from pipelines.store.logins import Logins
from pipelines.store.standing import Standing
from serving.gateway.auth.access_tokens import AccessTokens
from serving.gateway.auth.auth import Auth
from serving.gateway.auth.passwords import Passwords
from serving.signing_key import signing_key


def server_auth(database: Database) -> Auth:
    """Raises UnsafeSecret, StorageFailed."""
    return Auth(
        accounts=Accounts(database),
        logins=Logins(database),
        attempts=LoginAttempts(database),
        passwords=Passwords(),
        tokens=AccessTokens(signing_key()),
        standing=Standing(database),
        metrics_public=Settings().metrics_public,
    )
