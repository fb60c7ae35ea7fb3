"""The one typed place that reads `configs/`: profiles, recipes and model descriptions. An unknown key is an error.

Read by entry points only (`serving`, `benchmarks`, tests); what they read is handed down as plain data.
"""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from configs.serving import ServingSettings
from models.interfaces import Plain
from models.published import PublishedFiles
from models.registry import REMOTE_FAMILY, SERVED_FAMILY
from models.spec import (
    AspectRatio,
    ChatModelSpec,
    ImageModelSpec,
    ModelSpec,
    ScorerModelSpec,
    Size,
    SpecBase,
    VideoModelSpec,
)
from pipelines.errors import BadInput, first_problem
from pipelines.recipe import Recipe

CONFIGS = Path(__file__).parent
AD_PROMPTS = CONFIGS / "suites" / "ads.txt"
"""Prompts of ads that the embedded models can draw, for `admint bench`."""
Kind = TypeVar("Kind", ChatModelSpec, ImageModelSpec, VideoModelSpec, ScorerModelSpec)
AnySpec = ChatModelSpec | ImageModelSpec | VideoModelSpec | ScorerModelSpec
Data = TypeVar("Data", bound=BaseModel)


def _listed(value: object) -> object:
    """What the environment lists between commas or blanks."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?", value):
        raise ValueError(
            f"{value!r} is no origin: write scheme, host and port as the browser's address bar has them, in small "
            "letters and without a path, such as https://studio.example.org; pages of any origin cannot be allowed"
        )
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError(f"{value!r} is no address or network: write 10.0.0.5 or 172.16.0.0/12, no names") from None


class Settings(BaseSettings):
    """What the environment may set, each as `ADMINT_…`. Raises BadInput that names the variable."""

    model_config = SettingsConfigDict(env_prefix="ADMINT_", env_parse_none_str="none", extra="ignore")

    def __init__(self) -> None:
        try:
            super().__init__()
        except ValidationError as error:
            wrong = error.errors()[0]
            reason = wrong["msg"].removeprefix("Value error, ")
            raise BadInput(f"ADMINT_{str(wrong['loc'][0]).upper()}: {reason}") from None

    home: Path = Path("~/.local/share/admint")
    """Where model weights live on this machine."""
    profile: str = "sketch"
    configs: Path | None = None
    """A folder of your own descriptions, with `profiles/`, `recipes/` and `models/` as far as wanted: they come before
    the shipped ones of the same name."""
    chat_url: str | None = None
    """Address of an OpenAI-compatible server, such as http://127.0.0.1:8001/v1, that runs the profile's chat model in
    place of a vLLM of our own; its key, if it wants one, is ADMINT_OPENAI_API_KEY."""
    database: str | None = None
    """Address of the server's store, such as postgresql://USER:PASSWORD@HOST/NAME; None: SQLite under `home`."""
    database_file: Path | None = None
    """A file that holds that address instead, such as a mounted secret."""
    artifacts: Path | None = None
    """Folder of the server's artifacts, which every node must see; None: under `home`."""
    secret: SecretStr | None = None
    """What signs the server's access tokens, 32 bytes or more, the same for all its processes; None: a random one,
    created once under `home`, for a server whose store is there too."""
    secret_file: Path | None = None
    """A file that holds that secret instead."""
    api_key: SecretStr | None = None
    """What the command line asks a server with, instead of a login."""
    api_key_file: Path | None = None
    """A file of mode 600 that holds such a key."""
    metrics_public: bool = False
    """Whether `/metrics` answers without an admin's key."""
    cors_origins: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_listed)
    ] = ()
    """Origins whose pages may use the API from a browser, between commas; none without it."""
    trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_listed)
    ] = ()
    """Addresses and networks of reverse proxies, between commas: what they say of a caller in X-Forwarded-… counts."""
    root_path: str = ""
    """What all addresses begin with outside of a reverse proxy, such as /admint; not /api, /v1 or /ws."""
    lease_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 30.0
    """After this time without a word of its worker a generation goes to another one; the same for all processes."""
    generations_per_user: Annotated[int, Field(ge=1)] = 20
    """That wait, run or wait for approval at the same time."""
    stored_generations_per_user: Annotated[int, Field(ge=1)] = 10_000
    """In all, ended ones included."""
    stored_gb_per_user: Annotated[float, Field(gt=0)] = 50.0
    """Files and rows of one user, in units of 10^9 bytes."""
    single_files_days: Annotated[float, Field(gt=0)] | None = 30.0
    """Days after which pictures and latents of single calls expire; `none`: they stay until they are deleted. What
    belongs to a generation stays as long as that does."""
    ended_generations_days: Annotated[float, Field(gt=0)] | None = None
    """Days after which completed, failed and cancelled generations are deleted; `none`: they stay."""
    device_hour_price: Annotated[float, Field(ge=0)] | None = None
    """What an hour of a device costs, in any currency: generations asked for from then on say their `cost`."""
    traces: str | None = None
    """An OpenTelemetry collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; None: nothing is traced."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What a server's processes say: from this level up. `debug` has a line per request."""
    log_format: Literal["text", "json"] = "text"
    log_socket: Path | None = None
    """Where a process of `admint serve` sends its log lines; set by `admint serve` for the processes it starts."""

    @field_validator("root_path")
    @classmethod
    def _root_path(cls, value: str) -> str:
        path = value.rstrip("/")
        if path and not re.fullmatch(r"(?!/(api|v1|ws)(/|$))(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", path):
            raise ValueError(
                f"{value!r} is no root path: write one such as /admint, which is none of /api, /v1 and /ws"
            )
        return path


class Lanes(Plain):
    """Device lane of each model; models on one lane never run at the same time."""

    chat: str
    image: str
    video: str


class Profile(Plain):
    """Which models a deployment uses, and how its videos are delivered."""

    name: str
    description: str
    chat: str
    image: str
    video: str
    scorer: str | None = None
    """The CLIP model behind the learned quality dimensions; None: they have no value, and say so."""
    scorers: dict[str, str] = Field(default_factory=dict)
    """The models behind the other learned dimensions, by the backbone that each is: `dino_vitb16: dino-vitb16`. A
    dimension that needs one which is not named has no value, and says so. `chat` is the chat model that answers
    questions about pictures; not named: the profile's own."""
    device: Literal["cpu", "cuda"]
    lanes: Lanes
    fps: Annotated[int, Field(ge=1, le=60)]
    delivery: dict[AspectRatio, Size]
    """Width and height of the finished video by ratio; both even."""
    serving: ServingSettings = ServingSettings()
    """How `admint serve` spreads it over a machine or a cluster."""

    def backbones(self) -> dict[str, str]:
        """The names of all scorer models, by the backbone that each is; `scorer` is the backbone `clip`."""
        named = {} if self.scorer is None else {"clip": self.scorer}
        return named | {backbone: name for backbone, name in self.scorers.items() if backbone != "chat"}


def load_profile(name: str) -> Profile:
    """The profile `name`. Raises BadInput naming the profiles there are."""
    return _load(Profile, "profiles", name, "profile")


def load_recipe(name: str) -> Recipe:
    """The recipe `name`. Raises BadInput naming the recipes there are."""
    return _load(Recipe, "recipes", name, "recipe")


def library_root() -> Path:
    """Folder of the model weights on this machine: `$ADMINT_HOME/models`."""
    return Settings().home.expanduser() / "models"


def server_database() -> str:
    """SQLAlchemy URL of the server's store: as `shared_database`, else SQLite in `$ADMINT_HOME/server`."""
    return shared_database() or f"sqlite:///{Settings().home.expanduser() / 'server' / 'store.sqlite'}"


def shared_database() -> str | None:
    """`$ADMINT_DATABASE`, or what `$ADMINT_DATABASE_FILE` holds. Raises BadInput for both, or an unreadable file."""
    settings = Settings()
    return _given(settings.database, settings.database_file, "ADMINT_DATABASE")


def server_secret() -> str | None:
    """`$ADMINT_SECRET`, or what `$ADMINT_SECRET_FILE` holds. Raises BadInput for both, or an unreadable file."""
    settings = Settings()
    value = None if settings.secret is None else settings.secret.get_secret_value()
    return _given(value, settings.secret_file, "ADMINT_SECRET")


def _given(value: str | None, file: Path | None, name: str) -> str | None:
    if file is None:
        return value
    if value is not None:
        raise BadInput(f"{name} and {name}_FILE are both set: keep one of them")
    try:
        content = file.expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{name}_FILE {str(file)!r} cannot be read ({error}): name a readable text file") from None
    if not content:
        raise BadInput(f"{name}_FILE {str(file)!r} is empty: write the value into it")
    return content


def server_artifacts() -> Path:
    """Folder of the server's artifacts: `$ADMINT_ARTIFACTS`, else in `$ADMINT_HOME/server`."""
    settings = Settings()
    return (settings.artifacts or settings.home / "server" / "artifacts").expanduser()


def load_model_specs() -> dict[str, AnySpec]:
    """Every model that is described, by name, in alphabetical order."""
    return {path.stem: _model(path) for path in _described("models")}


def load_model(name: str, kind: type[Kind]) -> Kind:
    """The model `name`, which must be of `kind`. Raises BadInput naming those there are."""
    found = [path for path in _described("models") if path.stem == name]
    spec = _model(found[0]) if found else None
    if isinstance(spec, ChatModelSpec):
        spec = _where_it_runs(spec)
    if isinstance(spec, kind):
        return spec
    known = ", ".join(sorted(each.name for each in load_model_specs().values() if isinstance(each, kind)))
    word = kind.__name__.removesuffix("ModelSpec").lower()
    raise BadInput(f"no {word} model {name!r}: choose one of {known}")


def load_published(spec: SpecBase) -> dict[str, PublishedFiles]:
    """What was seen of the repositories of `spec`, by part; a part of which nothing was seen is left out."""
    found = {}
    for part, source in spec.parts().items():
        name = Path("models", "published", f"{source.repository.replace('/', '--')}.json")
        for root in _roots():
            if (root / name).exists():
                found[part] = PublishedFiles.model_validate_json((root / name).read_bytes())
    return found


def _where_it_runs(spec: ChatModelSpec) -> ChatModelSpec:
    """`spec`, on the server at `ADMINT_CHAT_URL` where that is set and the model is one for a server."""
    address = Settings().chat_url
    if address is None or spec.family not in (SERVED_FAMILY, REMOTE_FAMILY):
        return spec
    if not re.match(r"https?://[^/]+", address):
        raise BadInput(f"ADMINT_CHAT_URL {address!r} is no address: give one such as http://127.0.0.1:8001/v1")
    changes = {"family": REMOTE_FAMILY, "base_url": address, "weights": {}, "vram_gb": 0.0}
    if spec.remote_model is None:
        changes["remote_model"] = spec.weights["main"].repository
    return spec.model_copy(update=changes)


def profile_names() -> list[str]:
    """Names of all profiles, one's own among them, in alphabetical order."""
    return [path.stem for path in _described("profiles")]


def _described(folder: str) -> list[Path]:
    """The YAML files of `profiles`, `recipes` or `models`, by name: one's own, then the shipped ones of other names."""
    paths = {path.stem: path for root in _roots() for path in (root / folder).glob("*.yaml")}
    return [paths[name] for name in sorted(paths)]


def _roots() -> list[Path]:
    """Folders of descriptions; a later one's file comes before an earlier one's of the same name."""
    own = Settings().configs
    return [CONFIGS] if own is None else [CONFIGS, own.expanduser()]


@cache
def _model(path: Path) -> AnySpec:
    data = _extended(path, _read(path))
    try:
        spec: AnySpec = TypeAdapter(ModelSpec).validate_python({"name": path.stem, **data})
    except ValidationError as error:
        raise BadInput(f"{path.name}: {first_problem(error)}") from None
    return spec


def _extended(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """The description in `path` over the shipped one that it `extends`: the same weights, placed otherwise.

    Steps were measured as the shipped one places them, at its sizes: with either changed they are not measured.
    """
    if (base := data.get("extends")) is None:
        return data
    origin = CONFIGS / "models" / f"{base}.yaml"
    if origin == path or not origin.exists() or "extends" in _read(origin):
        raise BadInput(f"{path.name}: it cannot extend {base!r}; name a shipped description that extends no other")
    own = {key: value for key, value in data.items() if key != "extends"}
    inherited = _read(origin)
    if own.keys() & {"acceleration", "dtype", "sizes", "max_frames"}:
        inherited.pop("seconds_per_step", None)
    return {**inherited, "name": path.stem, "weights_of": base, **own}


def _load(kind: type[Data], folder: str, name: str, word: str) -> Data:
    paths = {path.stem: path for path in _described(folder)}
    if name not in paths:
        raise BadInput(f"no {word} {name!r}: choose one of {', '.join(paths)}")
    data = _read(paths[name])
    try:
        return kind.model_validate({"name": name, **data})
    except ValidationError as error:
        raise BadInput(f"{folder}/{name}.yaml: {first_problem(error)}") from None


@cache
def _read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read once per process: every request needs its recipe, and parsing one takes 4 ms.

    Callers change nothing in it.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise BadInput(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path.name} must hold a mapping, not {type(data).__name__}")
    return data
