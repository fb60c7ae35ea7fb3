"""`admint.Client` and `admint.AsyncClient` against a running gateway: operations, errors, retries, lost streams."""

import base64
import contextlib
import doctest
import inspect
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import admint
from serving.client import ads, exceptions, media
from serving.client import client as clients
from serving.client.errors import ErrorAnswer
from serving.gateway.generations.schemas import ApproveBody, BriefBody, GenerationCreate, RegenerateBody
from serving.gateway.interactive.schemas import Approval, ChatMessage, InpaintOrder, Regeneration, SessionStart
from serving.gateway.master_mode.schemas import StoryRequest
from serving.gateway.openai.schemas import ImageEdit, ImageGeneration, VideoCreate
from serving.gateway.original.schemas import ParallelBody
from serving.gateway.problems import CODES
from tests.support.ad_server import SpeakingServer
from tests.support.gateway_users import PASSWORD
from tests.support.waiting import ended

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "client.md"
PICTURE = REPOSITORY / "examples" / "water-bottle" / "references" / "product-1.png"
BRIEF = "An ad for a steel water bottle"
SMALL: dict[str, Any] = {"recipe": "express", "duration": 9, "num_scenes": 2}
SERVER_EXTRA = ("fastapi", "starlette", "ray", "uvicorn", "jwt", "pwdlib", "psycopg", "pyarrow", "prometheus_client")
HEAVY = ("torch", "diffusers", "transformers", "cv2", "av", "sqlalchemy", "PIL")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with SpeakingServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with admint.Client(server.url, api_key=server.key) as opened:
        yield opened


@pytest.fixture(scope="module")
def ad(client):
    made = client.generations.create(BRIEF, **SMALL, references=[("style", PICTURE)], seed=7)
    return client.generations.wait(made.id, timeout=60)


def test_an_ad_is_asked_for_followed_and_fetched(client, ad, tmp_path):
    assert (ad.status, ad.seed_value, ad.references[0]["role"]) == ("completed", 7, "style")
    events = list(client.generations.events(ad.id))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].kind == "generation_completed"
    assert [event.seq for event in client.generations.events(ad.id, after=events[-3].seq)] == [
        event.seq for event in events[-2:]
    ]
    video = client.generations.download(ad.id, tmp_path / "ad.mp4")
    assert video.read_bytes()[4:8] == b"ftyp"
    assert client.generations.download_clip(ad.id, 1, tmp_path / "one.mp4").stat().st_size > 0
    assert client.generations.download_thumbnail(ad.id, tmp_path / "one.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert "data:video/mp4;base64," in client.generations.download_report(ad.id, tmp_path / "ad.html").read_text()
    files = ["ad.html", "ad.mp4", "one.jpg", "one.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files, "nothing is left over"


def test_an_ad_is_read_in_every_way(client, ad):
    page = client.generations.list(limit=1, status=["completed"], recipe=["express"])
    assert page.total >= 1 and page.items[0].status == "completed"
    assert client.generations.record(ad.id).generation_id == ad.id
    assert {take.kind for take in client.generations.takes(ad.id).items} >= {"keyframe", "clip", "video"}
    assert client.generations.conversation(ad.id).messages
    assert client.generations.quality(ad.id).metrics["temporal_flickering"] is not None
    assert client.models.get(client.models.list().data[0].id).kind == "chat"


def test_an_ad_is_directed(client):
    made = client.generations.create(BRIEF, **SMALL, approvals=["story"])
    waiting = client.generations.wait(made.id)
    assert (waiting.status, waiting.current_stage) == ("awaiting_approval", "story")
    assert client.generations.correct(made.id, colour="teal").id == made.id
    client.generations.wait(made.id)
    assert client.generations.approve(made.id, "story", notes="Good").id == made.id
    assert client.generations.wait(made.id).status == "completed"
    takes = client.generations.takes(made.id).items
    first = next(take for take in takes if take.kind == "keyframe" and take.scene_number == 2)
    client.generations.regenerate(made.id, stage="storyboard", scene_number=2, feedback="Warmer light")
    client.generations.wait(made.id)
    client.generations.select(made.id, first.id)
    client.generations.wait(made.id)
    assert client.generations.delete(made.id).deleted
    with pytest.raises(admint.NotFound, match=made.id):
        client.generations.get(made.id)


def test_a_cancelled_ad_is_said_to_be_and_is_resumed(client, server):
    with server.studio.holding(2):
        made = client.generations.create(BRIEF, **SMALL)
        server.studio.until_held()
        assert client.generations.cancel(made.id).cancellation_requested
        with pytest.raises(admint.Cancelled, match=made.id):
            client.generations.wait(made.id)
    client.generations.resume(made.id)
    assert client.generations.wait(made.id).status == "completed"


def test_who_waits_too_long_is_told_and_the_server_goes_on(client, server):
    with server.studio.holding(1):
        made = client.generations.create(BRIEF, **SMALL)
        server.studio.until_held()
        with pytest.raises(TimeoutError):
            client.generations.wait(made.id, timeout=0.1)
    assert client.generations.wait(made.id).status == "completed"


def test_a_session_is_led_to_its_end(client):
    started = client.sessions.start(BRIEF, target_duration=9, seed=3)
    client.sessions.wait(started.session_id)
    said = client.sessions.chat(started.session_id, "Make it better")
    assert [entry.role for entry in said.conversation_history] == ["user", "assistant"]
    uploaded = client.sessions.upload_references(started.session_id, [("product", PICTURE)])
    assert uploaded.images[0].role == "product"
    client.sessions.approve(started.session_id, "story", selected_indices=[0])
    client.sessions.wait(started.session_id)
    client.sessions.approve(started.session_id, "reference_image")
    client.sessions.wait(started.session_id)
    assert client.sessions.status(started.session_id).current_stage == "storyboard"
    session = client.sessions.get(started.session_id)
    assert session.outputs["storyboard"].images[0].scene_number == 1
    regenerated = client.sessions.regenerate(started.session_id, "storyboard", modifications={"scene_number": 1})
    assert regenerated.regenerated


def test_stories_and_comparisons_are_made(client):
    accepted = client.stories.create(BRIEF, duration=9, generate_scenes=False, reference_images=[PICTURE])
    client.stories.wait(accepted.generation_id)
    assert client.stories.get(accepted.generation_id).story
    variations = [{"coherence_settings": {"use_seed_control": False}}, {"coherence_settings": {}}]
    group = client.comparisons.create(BRIEF, "settings", variations, duration=9, num_scenes=2, use_llm=False)
    for each in group.generation_ids:
        client.generations.wait(each)
    chosen = client.comparisons.choose_winner(group.group_id, group.generation_ids[1])
    assert client.comparisons.get(group.group_id).winner_generation_id == chosen.winner_generation_id


def test_pictures_and_clips_are_made_from_paths_bytes_and_ids(client, tmp_path):
    drawn = client.images.generate("a bottle", seed=3, response_format="url").data[0]
    path = client.files.download(drawn.artifact, tmp_path / "bottle.png")
    for image in (path, str(path), path.read_bytes(), drawn.artifact, [path, drawn.artifact]):
        assert client.images.edit("in snow", image, seed=1).data[0].b64_json
    inline = client.images.generate("a bottle", n=2, seed=3)
    assert base64.b64decode(inline.data[0].b64_json or "") == path.read_bytes()
    clip = client.videos.create("a bottle", input_reference=path)
    assert client.videos.wait(clip.id, timeout=60).status == "completed"
    film = client.videos.download(clip.id, tmp_path / "clip.mp4")
    scored = client.files.measure(film, dimensions=["temporal_flickering"])
    done = client.videos.get(clip.id)
    assert scored.sha256 == done.artifact and scored.data[0].raw is not None
    both = client.files.measure_files([film, film.read_bytes()], dimensions=["product_colour"], references=[path])
    assert [row.filename for row in both.data] == ["clip.mp4", "upload"] and both.data[0].data[0].raw is not None
    (stored,) = client.files.measure_files([scored.sha256], dimensions=["technical"], series=True).data
    assert stored.filename == scored.sha256 and stored.data[0].series is not None
    (alone,) = client.files.measure_files([film], dimensions=["technical"]).data
    assert alone.data[0].raw == stored.data[0].raw
    asked = {"duration": 9, "aspect_ratio": "9:16", "overlays": ["0-1=SALE", "BOTTLE"], "style": "oil painting"}
    held = client.files.measure(film, dimensions=["ad.duration", "ad.ratio"], protocol="custom", **asked).data
    (row,) = client.files.measure_files([film], dimensions=["ad.duration", "ad.ratio"], **asked).data
    assert row.data == held and all(score.raw is not None and score.raw > 0 for score in held)
    assert client.files.measure(path, dimensions=["technical"]).data[0].frames_used == 1
    with pytest.raises(admint.InvalidRequest, match="is no ratio"):
        client.files.measure(film, aspect_ratio="tall")
    with pytest.raises(admint.BadInput, match="in two calls"):
        client.files.measure_files([film, scored.sha256])
    assert "technical" in {each.name for each in client.files.list_dimensions().data}
    assert clip.id in {each.id for each in client.videos.list().data}
    assert client.videos.delete(clip.id).deleted


# --- errors ---


def test_a_refusal_says_what_to_change_and_what_the_log_calls_it(client):
    with pytest.raises(admint.BadInput) as caught:
        client.generations.create("x" * 6000)
    refused = caught.value
    assert isinstance(refused, admint.InvalidRequest)
    assert (refused.code, refused.status, refused.param) == ("invalid_request", 422, "brief.prompt")
    assert refused.request_id


def test_errors_of_either_side_are_of_one_tree(client, server, ad, tmp_path):
    with pytest.raises(admint.BadInput, match=r"nowhere\.png"):
        client.images.edit("in snow", tmp_path / "nowhere.png")
    with pytest.raises(admint.Failed, match="missing"):
        client.generations.download(ad.id, tmp_path / "missing" / "ad.mp4")
    with pytest.raises(admint.Unauthenticated), admint.Client(server.url, api_key="admint_wrong") as stranger:
        stranger.models.list()
    with pytest.raises(admint.BadInput, match="server"):
        admint.Client("not an address")
    with pytest.raises(admint.BadInput, match="either"):
        admint.Client(server.url, api_key="a", username="b", password=PASSWORD)


@pytest.mark.parametrize(("code", "status"), CODES.items())
def test_every_code_of_the_gateway_has_a_class_of_its_kind(code, status):
    kind = exceptions.kind_of(ErrorAnswer(code=code, status=status))
    assert issubclass(kind, admint.APIError)
    assert issubclass(kind, admint.Failed) == (status >= 500)
    if status in (400, 405, 413, 415, 416, 422):
        assert issubclass(kind, admint.BadInput)


def test_a_server_that_is_not_there_is_unreachable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        unreachable = pytest.raises(admint.Unreachable, match=re.escape(address))
        with admint.Client(address, username="anna", password=PASSWORD) as client, unreachable:
            client.models.list()


# --- the connection ---


class Cutting:
    """A relay before a server that hangs up after some bytes of its first answers."""

    def __init__(self, url: str, cuts: list[int]) -> None:
        self._to = httpx.URL(url)
        self._cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.opened = 0

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *failure):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.opened += 1
            left = self._cuts.pop(0) if self._cuts else None
            threading.Thread(target=self._relay, args=(near, left), daemon=True).start()

    def _relay(self, near, left):
        with near, socket.create_connection((self._to.host, self._to.port)) as far:
            asking = threading.Thread(target=self._pass, args=(near, far, None), daemon=True)
            asking.start()
            self._pass(far, near, left)
            ended(asking, "the end of a request that is passed on")

    @staticmethod
    def _pass(here, there, left):
        """Hand on what comes until one side ends, or `left` bytes have passed; then both hear the end."""
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data if left is None else data[:left])
                left = None if left is None else left - len(data)
                if left is not None and left <= 0:
                    break
        for one in (here, there):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def test_a_broken_event_stream_goes_on_where_it_broke(server, client, ad):
    whole = [event.seq for event in client.generations.events(ad.id)]
    with Cutting(server.url, [1500, 2500]) as relay, admint.Client(relay.url, api_key=server.key) as through:
        assert [event.seq for event in through.generations.events(ad.id)] == whole
        assert relay.opened > 2


def test_an_order_whose_answer_is_lost_is_made_once(server, client):
    before = client.generations.list(limit=1).total
    with Cutting(server.url, [20]) as relay, admint.Client(relay.url, api_key=server.key) as through:
        made = through.generations.create(BRIEF, **SMALL, use_llm=False)
    assert client.generations.list(limit=1).total == before + 1
    client.generations.wait(made.id)


def test_the_same_key_names_the_same_ad(client):
    first = client.generations.create(BRIEF, **SMALL, idempotency_key="spring")
    assert client.generations.create(BRIEF, **SMALL, idempotency_key="spring").id == first.id
    client.generations.wait(first.id)


async def test_the_asynchronous_client_does_the_same_with_a_login_that_it_ends(server, ad):
    async with admint.AsyncClient(server.url, username="admin", password=PASSWORD) as client:
        assert (await client.generations.get(ad.id)).status == "completed"
        seen = [event.seq async for event in client.generations.events(ad.id)]
        assert seen[0] == 1
        token = client._access.token()  # type: ignore[union-attr]
        assert token
    async with admint.AsyncClient(server.url, api_key=token) as ended:
        with pytest.raises(admint.Unauthenticated):
            await ended.models.list()


async def test_the_synchronous_client_works_inside_of_an_event_loop(client):
    assert client.models.list().data


def test_leaving_the_events_early_closes_the_stream(client, ad):
    events = client.generations.events(ad.id)
    assert next(events).seq == 1
    events.close()
    assert client.models.list().data


# --- the shape ---


def parts():
    for name, part in vars(clients).items():
        if inspect.isclass(part) and issubclass(part, clients._AsyncPart) and part is not clients._AsyncPart:
            yield part, getattr(clients, name.removeprefix("Async"))


@pytest.mark.parametrize(("asynchronous", "synchronous"), list(parts()))
def test_both_clients_have_the_same_operations_and_each_says_what_it_does(asynchronous, synchronous):
    methods = {name: method for name, method in vars(asynchronous).items() if hasattr(method, "make")}
    assert methods
    assert {name: method.make for name, method in methods.items()} == {
        name: method.make for name, method in vars(synchronous).items() if hasattr(method, "make")
    }
    assert all(method.__doc__ for method in methods.values())


ADDRESSING = {"generation_id", "session_id", "idempotency_key"}
"""Parameters that are no fields."""
OTHERWISE = {"prompt", "type", "reference_roles", "reference_images", "text_fields"}
"""Fields that the client says in another way: the brief, the kind of a message, pictures with their roles."""


def names(*kinds):
    return {name for kind in kinds for name in kind.model_fields}


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (ads.create_generation, names(GenerationCreate, BriefBody)),
        (ads.approve_generation, names(ApproveBody)),
        (ads.regenerate_generation, names(RegenerateBody)),
        (ads.start_session, names(SessionStart)),
        (ads.approve_session, names(Approval)),
        (ads.regenerate_session, names(Regeneration)),
        (ads.inpaint, names(InpaintOrder)),
        (ads.chat, names(ChatMessage)),
        (ads.create_story, names(StoryRequest)),
        (ads.create_comparison, names(ParallelBody)),
        (media.generate_images, names(ImageGeneration)),
        (media.edit_image, names(ImageEdit)),
        (media.create_video, names(VideoCreate)),
    ],
)
def test_an_operation_takes_the_fields_of_its_body(make, fields):
    """So a new field of a body is a new parameter."""
    parameters = inspect.signature(make).parameters.values()
    taken = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD} - ADDRESSING
    assert taken <= fields, taken - fields
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        assert not fields - taken - OTHERWISE


def test_it_is_loaded_without_the_servers_packages_and_without_models(tmp_path):
    code = f"""
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {SERVER_EXTRA!r}:
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Missing())
        import admint
        admint.Client("http://127.0.0.1:8000", api_key="k").close()
        print([name for name in {HEAVY!r} if name in sys.modules])
    """
    command = [sys.executable, "-c", inspect.cleandoc(code)]
    environment = {"PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300)
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")


def test_the_examples_of_the_documentation_are_what_happens(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "product.png").write_bytes(PICTURE.read_bytes())
    monkeypatch.setenv("ADMINT_API_KEY", server.key)
    text = GUIDE.read_text().replace("http://127.0.0.1:8000", server.url)
    found = doctest.DocTestParser().get_doctest(text, {}, GUIDE.name, str(GUIDE), 0)
    assert len(found.examples) > 10
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.DocTestRunner(optionflags=flags).run(found, out=said.append)
    assert result.failed == 0, "".join(said)
