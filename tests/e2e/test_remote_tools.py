"""The tools on a server: a gateway in a process of its own, the command as a user's shell runs it."""

import json
import re
import shlex
import stat

import pytest

from tests.support.command import PROMPT, REPOSITORY, admint, result, start_admint
from tests.support.gateway_process import start_gateway
from tests.support.gateway_users import PASSWORD
from tests.support.waiting import until

REFERENCES = REPOSITORY / "examples" / "water-bottle" / "references"
QUICK = ("--prompt", PROMPT, "--recipe", "express", "--duration", "9", "--scenes", "2", "--seed", "5")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = start_gateway(tmp_path_factory.mktemp("gateway"))
    yield gateway
    gateway.stop()


@pytest.fixture
def env(gateway, tmp_path):
    """A user with an API key and nothing else."""
    return {"ADMINT_API_KEY": gateway.key, "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def held(gateway):
    """The engines stay at their first picture until `release()`."""
    gateway.hold.touch()
    yield
    gateway.hold.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def storyboard(gateway, tmp_path_factory):
    path = tmp_path_factory.mktemp("board") / "board.json"
    flags = ("--prompt", PROMPT, "--scenes", "2", "--duration", "9", "--seed", "2", "--output", path, "--json")
    made = admint("create-storyboard", *flags, "--server", gateway.url, env={"ADMINT_API_KEY": gateway.key})
    assert result(made)["scenes"] == 2
    return path


def listed(gateway, env):
    return result(admint("list", "--server", gateway.url, "--json", env=env))["items"]


def until_status(gateway, env, generation_id, status):
    def reached():
        return {row["id"]: row["status"] for row in listed(gateway, env)}[generation_id] == status

    until(reached, f"{generation_id} to be {status}")


# --- the tools ---


def test_a_whole_ad_leaves_the_same_files_and_the_same_result_as_one_made_here(gateway, env, finished, tmp_path):
    here, printed_here = finished
    there = tmp_path / "ad"
    flags = ("--reference-images", REFERENCES, "--output", there, "--full-pipeline", "--json", "--server", gateway.url)
    made = admint("pipeline", *QUICK, *flags, env=env)
    printed = result(made)
    assert set(printed) == set(printed_here)
    assert (printed["status"], printed["seed"], printed["seconds"]) == ("completed", 5, 9.0)
    assert printed["video"] == str(there / "final.mp4")
    assert {path.name for path in there.iterdir()} == {path.name for path in here.iterdir()}
    kinds = {re.sub(r"-\d+", "", path.name) for path in there.glob("scenes/*/*")}
    assert kinds == {re.sub(r"-\d+", "", path.name) for path in here.glob("scenes/*/*")}
    mine, theirs = (json.loads((folder / "run.json").read_text()) for folder in (here, there))
    assert set(mine) == set(theirs)
    assert [one["filename"] for one in theirs["brief"]["references"]] == sorted(p.name for p in REFERENCES.iterdir())
    assert {path.relative_to(there).as_posix() for path in there.glob("scenes/*/*.[pm]*")} == set(
        theirs["files"].values()
    )
    assert "storyboard/scene-001: finished in" in made.stderr and "the ad is finished" in made.stderr


def test_it_stops_at_the_storyboard_and_a_resume_goes_on_from_there(gateway, env, tmp_path):
    folder = tmp_path / "ad"
    first = admint("pipeline", *QUICK, "--output", folder, "--server", gateway.url, env=env)
    assert first.returncode == 0, first.stderr
    assert f"admint pipeline --resume {folder} --full-pipeline" in first.stdout
    keyframes = {path: path.read_bytes() for path in folder.glob("scenes/*/keyframe*.png")}
    assert len(keyframes) == 2 and not (folder / "final.mp4").exists()
    second = result(admint("pipeline", "--resume", folder, "--full-pipeline", "--json", env=env))
    assert (second["status"], second["video"]) == ("completed", str(folder / "final.mp4"))
    assert {path: path.read_bytes() for path in keyframes} == keyframes
    refused = admint("pipeline", *QUICK, "--output", folder, "--server", gateway.url, env=env)
    assert (refused.returncode, "belongs to another run" in refused.stderr) == (2, True)


def test_a_storyboard_made_there_is_what_the_next_ad_draws_and_nothing_stays_behind(gateway, env, storyboard, tmp_path):
    board = json.loads(storyboard.read_text())
    assert [scene["scene_number"] for scene in board["scenes"]] == [1, 2]
    assert all(row["current_stage"] != "scenes" for row in listed(gateway, env))
    folder = tmp_path / "ad"
    result(
        admint("pipeline", "--storyboard", storyboard, "--output", folder, "--json", "--server", gateway.url, env=env)
    )
    run = json.loads((folder / "run.json").read_text())
    prompts = {take["scene_number"]: take["provenance"]["request"]["prompt"] for take in run["takes"]}
    assert prompts == {scene["scene_number"]: scene["image_prompt"] for scene in board["scenes"]}


def test_images_are_drawn_there_and_written_here(gateway, env, tmp_path):
    flags = ("--prompt", "a bottle", "--count", "2", "--seed", "4", "--output", tmp_path, "--server", gateway.url)
    references = ("--reference-images", *(f"style={path}" for path in sorted(REFERENCES.iterdir())[:1]))
    result(admint("generate-images", *flags, *references, "--json", env=env))
    record = json.loads((tmp_path / "images.json").read_text())
    assert (record["model"], [image["file"] for image in record["images"]]) == (
        "painter", ["image-001.png", "image-002.png"],
    )  # fmt: skip
    assert len({image["noise_sha256"] for image in record["images"]}) == 2
    assert all((tmp_path / image["file"]).read_bytes().startswith(b"\x89PNG") for image in record["images"])


def test_videos_are_filmed_there_one_after_another(gateway, env, storyboard, tmp_path):
    flags = ("--prompts", storyboard, "--seed", "1", "--output", tmp_path, "--server", gateway.url, "--json")
    made = admint("generate-videos", *flags, "--reference-images", REFERENCES, "--model", "kling-v1.5", env=env)
    assert len(result(made)["videos"]) == 2
    assert "'kling-v1.5' does not run here: 'filmer' is used" in " ".join(result(made)["notes"])
    assert (tmp_path / "video-002.mp4").read_bytes()[4:8] == b"ftyp"
    assert json.loads((tmp_path / "videos.json").read_text())["model"] == "filmer"
    assert "video 2 of 2: filmed" in made.stderr


def test_what_a_model_noted_there_is_told_here(gateway, env, tmp_path):
    at = ("--server", gateway.url, "--json")
    drawn = admint("generate-images", "--prompt", "sun " * 70, "--output", tmp_path / "images", *at, env=env)
    assert "the prompt has 70 words" in result(drawn)["notes"]
    (tmp_path / "prompts.json").write_text(json.dumps(["a bottle", "sun " * 80]))
    filmed = admint(
        "generate-videos", "--prompts", tmp_path / "prompts.json", "--output", tmp_path / "videos", *at, env=env
    )
    assert "video-002: the prompt has 80 words" in result(filmed)["notes"]
    assert not any(note.startswith("video-001: the prompt") for note in result(filmed)["notes"])


@pytest.mark.parametrize("tool", ["enhance-image-prompt", "enhance-video-prompt"])
def test_a_prompt_is_enhanced_there(gateway, env, tool, tmp_path):
    path = tmp_path / "prompt.txt"
    flags = ("--input", "a steel bottle", "--output", path, "--seed", "1", "--json", "--server", gateway.url)
    printed = result(admint(tool, *flags, env=env))
    assert path.read_text().strip() == printed["prompt"] != ""


# --- leaving and coming back ---


def test_ctrl_c_leaves_the_job_running_and_what_it_says_brings_the_ad_home(gateway, env, held, tmp_path):
    folder = tmp_path / "ad"
    flags = ("--output", folder, "--full-pipeline", "--server", gateway.url)
    with start_admint("pipeline", *QUICK, *flags, env=env) as command:
        command.until_says("drawing the keyframes")
        command.interrupt()
        said = command.rest()
    assert command.exit_code == 130, said
    way_back = re.search(r"admint (attach \S+ --server \S+ --output .+)", said)
    assert way_back, said
    generation_id = way_back[1].split()[1]
    assert {row["id"]: row["status"] for row in listed(gateway, env)}[generation_id] == "processing"
    gateway.hold.unlink()
    attached = result(admint(*shlex.split(way_back[1]), "--json", env=env))
    assert (attached["generation_id"], attached["status"]) == (generation_id, "completed")
    assert (folder / "final.mp4").exists() and (folder / "report.html").exists()
    alone = tmp_path / "alone.mp4"
    result(admint("attach", generation_id, "--server", gateway.url, "--output", alone, "--json", env=env))
    assert alone.read_bytes() == (folder / "final.mp4").read_bytes()


def test_a_server_that_starts_again_in_between_is_followed_on_as_if_nothing_were(gateway, env, held, tmp_path):
    folder = tmp_path / "ad"
    flags = ("--output", folder, "--full-pipeline", "--server", gateway.url)
    with start_admint("pipeline", *QUICK, *flags, env=env) as command:
        command.until_says("drawing the keyframes")
        gateway.stop()
        command.until_says("trying to follow it again")
        gateway.hold.unlink()
        gateway.program = start_gateway(gateway.folder, gateway.port).program
        said = command.rest()
    assert command.exit_code == 0, said
    assert f"connected to {gateway.url} again" in said
    assert said.count("the ad is finished") == 1
    assert (folder / "final.mp4").exists()


def test_a_job_that_is_cancelled_from_elsewhere_ends_here_too(gateway, env, held, tmp_path):
    folder = tmp_path / "ad"
    with start_admint(
        "pipeline", *QUICK, "--output", folder, "--full-pipeline", "--server", gateway.url, env=env
    ) as command:
        command.until_says("drawing the keyframes")
        generation_id = listed(gateway, env)[0]["id"]
        told = result(admint("cancel", generation_id, "--server", gateway.url, "--json", env=env))
        assert told["generation_id"] == generation_id
        said = command.rest()
    assert command.exit_code == 130, said
    assert f"generation {generation_id} was cancelled" in said
    assert f"admint pipeline --resume {folder}" in said
    until_status(gateway, env, generation_id, "cancelled")
    again = result(admint("cancel", generation_id, "--server", gateway.url, "--json", env=env))
    assert again["status"] == "cancelled"
    gateway.hold.unlink()
    resumed = result(admint("pipeline", "--resume", folder, "--json", env=env))
    assert (resumed["generation_id"], resumed["status"]) == (generation_id, "completed")


# --- who asks ---


def test_a_login_serves_every_command_until_the_logout(gateway, tmp_path):
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    flags = ("--server", gateway.url, "--username", "admin", "--password-stdin")
    wrong = admint("login", *flags, piped="not this one\n", env=env)
    assert (wrong.returncode, "wrong username or password" in wrong.stderr) == (2, True)
    logged_in = admint("login", *flags, piped=f"{PASSWORD}\n", env=env)
    assert logged_in.returncode == 0, logged_in.stderr
    assert PASSWORD not in logged_in.stdout + logged_in.stderr
    file = tmp_path / "admint" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    table = admint("list", env=env)
    assert table.returncode == 0, table.stderr
    assert "prompt" in table.stdout

    file.chmod(0o644)
    refused = admint("list", env=env)
    assert (refused.returncode, len(refused.stderr.strip().splitlines())) == (2, 1), refused.stderr
    assert "chmod 600" in refused.stderr
    file.chmod(0o600)

    assert admint("logout", env=env).returncode == 0
    assert "refresh_token" not in file.read_text()
    late = admint("list", "--server", gateway.url, env=env)
    assert (late.returncode, f"admint login --server {gateway.url}" in late.stderr) == (2, True)


def test_an_api_key_can_be_kept_as_a_login(gateway, tmp_path):
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    kept = admint("login", "--server", gateway.url, "--api-key-stdin", piped=f"{gateway.key}\n", env=env)
    assert kept.returncode == 0, kept.stderr
    assert gateway.key not in kept.stdout + kept.stderr
    assert admint("list", env=env).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("list", "--server", "{url}"), 2, ["admint login --server {url}"]),
        (("pipeline", *QUICK, "--output", "{tmp}/ad", "--server", "{url}"), 2, ["admint login --server {url}"]),
    ],
)
def test_a_wrong_key_is_one_line_that_says_how_to_log_in(gateway, env, tmp_path, arguments, code, words):
    filled = [text.format(url=gateway.url, tmp=tmp_path) for text in arguments]
    refused = admint(*filled, env=env | {"ADMINT_API_KEY": "admint_000000000000_" + "0" * 64})
    assert refused.returncode == code, refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert all(word.format(url=gateway.url) in refused.stderr for word in words), refused.stderr
    assert not (tmp_path / "ad").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("pipeline", "--prompt", " ", "--output", "{tmp}/ad"), 2, ["prompt"]),
        (("pipeline", *QUICK, "--recipe", "grand", "--output", "{tmp}/ad"), 2, ["'grand'"]),
        (("pipeline", *QUICK, "--profile", "sketch", "--output", "{tmp}/ad"), 2, ["--profile 'sketch'"]),
        (("pipeline", *QUICK), 2, ["--output is missing"]),
        (("pipeline", "--resume", "{tmp}"), 2, ["leave --server"]),
        (
            ("generate-images", "--prompt", "x", "--model", "flux-pro", "--strict", "--output", "{tmp}"),
            2,
            ["'flux-pro'", "painter"],
        ),
        (("attach", "none"), 2, ["'none'"]),
        (("cancel", "none"), 2, ["'none'"]),
        (("list", "--status", "sleeping"), 2, ["status"]),
    ],
)
def test_bad_input_is_one_line_as_it_is_here(gateway, env, tmp_path, arguments, code, words):
    refused = admint(*[text.format(tmp=tmp_path) for text in arguments], "--server", gateway.url, env=env)
    assert refused.returncode == code, refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert all(word in refused.stderr for word in words), refused.stderr
    assert not (tmp_path / "ad").exists()


def test_a_server_that_is_not_there_is_one_line(env):
    refused = admint("list", "--server", "http://127.0.0.1:1", env=env)
    assert refused.returncode == 7, refused.stderr
    assert "no connection to http://127.0.0.1:1" in refused.stderr
