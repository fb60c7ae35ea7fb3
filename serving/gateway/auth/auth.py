"""What it takes to know who asks. The composition root makes one; there is no way to do without."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.store.accounts import Accounts
from pipelines.store.login_attempts import LoginAttempts
from pipelines.store.logins import Logins
from pipelines.store.standing import Standing
from serving.gateway.auth.access_tokens import AccessTokens
from serving.gateway.auth.passwords import Passwords


@dataclass(frozen=True)
class Auth:
    accounts: Accounts
    logins: Logins
    attempts: LoginAttempts
    passwords: Passwords
    tokens: AccessTokens
    standing: Standing
    metrics_public: bool = False
    """Whether `/metrics` answers everybody, for a network in which only the scraper reaches it."""
