"""A desk for agents without a language model: answers are valid against the request's schema and follow its seed.

Not a mock of what is tested: it does what a constrained model does, draw JSON from the schema. A script may put given
answers, or plain text, in place of single agents.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from models.interfaces import ChatRequest, ChatResult
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.stages.context import StageContext
from pipelines.steps import Step, StepOutput
from pipelines.timing import plan_slots

CHAT = ChatModelSpec(kind="chat", name="scripted", family="none", licence="Apache-2.0", vram_gb=0, vision=True)
IMAGE = ImageModelSpec(
    kind="image", name="none", family="none", licence="Apache-2.0", vram_gb=0, references=3, num_inference_steps=2,
    guidance_scale=1.0, sizes={"1:1": (64, 64), "9:16": (48, 80), "16:9": (80, 48)},
)  # fmt: skip
VIDEO = VideoModelSpec(
    kind="video", name="none", family="none", licence="Apache-2.0", vram_gb=0, references=3, num_inference_steps=2,
    guidance_scale=1.0, sizes=IMAGE.sizes, native_fps=8, max_frames=16, camera_moves=("static", "push_in", "pan_left"),
)  # fmt: skip

Script = Callable[[ChatRequest], str | None]
"""Text of the answer; None: draw it from the schema."""


WORDS = (
    "amber", "breeze", "calm", "dance", "echo", "flame", "glance", "hour", "island", "joy", "kite", "leaf", "moment",
    "north", "ocean", "path", "quiet", "river", "stone", "tide", "valley", "wave", "yard", "zone", "early", "gentle",
)  # fmt: skip
"""What a text is drawn from: text that is none would be asked again."""


def from_schema(schema, rng, root=None):
    root = root or schema
    if "$ref" in schema:
        return from_schema(root["$defs"][schema["$ref"].split("/")[-1]], rng, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "anyOf" in schema:
        return from_schema(schema["anyOf"][0], rng, root)
    if schema["type"] == "null":
        return None
    kind = schema["type"]
    if kind == "object":
        return {name: from_schema(part, rng, root) for name, part in schema["properties"].items()}
    if kind == "array":
        count = rng.randint(schema.get("minItems", 0), schema["maxItems"])
        return [from_schema(schema["items"], rng, root) for _ in range(count)]
    if kind == "integer":
        return rng.randint(schema["minimum"], schema["maximum"])
    return " ".join(rng.sample(WORDS, 3))[: schema["maxLength"]]


class MemoryArtifacts:
    def __init__(self, files):
        self.files = files

    def read(self, sha256):
        return self.files[sha256]

    def put(self, data, media_type):
        raise NotImplementedError


class ScriptedDesk:
    """A desk whose chat follows `script`; remembers requests, notices, and every finished step."""

    chat_model, image_model, video_model = CHAT, IMAGE, VIDEO

    def __init__(self, script=lambda request: None, files=None):
        self.script = script
        self.artifacts = MemoryArtifacts(files or {})
        self.requests: list[ChatRequest] = []
        self.notices: list[tuple[str, str, str]] = []
        self.done: dict[str, tuple[Step, StepOutput]] = {}

    async def chat(self, request):
        self.requests.append(request)
        text = self.script(request)
        if text is None:
            rng = random.Random(request.seed)  # noqa: S311
            text = json.dumps(from_schema(request.json_schema, rng))
        return ChatResult(text=text, prompt_tokens=1, completion_tokens=1, seconds=0.0)

    async def image(self, request):
        raise NotImplementedError("no agent draws")

    async def video(self, request):
        raise NotImplementedError("no agent films")

    async def score(self, request):
        raise NotImplementedError("no agent scores")

    async def notice(self, kind, message, severity="info", details=None):
        self.notices.append((kind, message, severity))

    async def finish(self, step):
        known = self.done.get(step.name)
        if known is None or known[0].key != step.key:
            self.done[step.name] = (step, await step.work(self))
        return self.done[step.name][1].value

    def steps(self, prefix=""):
        return [name for name in self.done if name.startswith(prefix)]


def context_for(desk, brief, recipe, **changes):
    given = {
        "brief": brief,
        "recipe": recipe,
        "slots": plan_slots(brief.framework or recipe.framework, brief.duration, 8, brief.num_scenes),
        "fps": 8,
        "delivery": (96, 160),
        "fingerprints": {"chat": "chat-1", "image": "image-1", "video": "video-1"},
        "chat_model": CHAT,
        "image_model": IMAGE,
        "video_model": VIDEO,
        "finish": desk.finish,
    }
    return StageContext(**(given | changes))


def agent_of(request):
    """Which agent asks, told by its prompt."""
    system = request.messages[0].content
    known = {
        "story director": "director", "critic of a video ad": "critic", "critic of one scene": "scene_critic",
        "write one scene": "writer", "leads to the next": "pair", "look over all": "overview",
        "reference image": "vision", "Name the product": "product", "image model": "image", "video model": "video",
    }  # fmt: skip
    return next(name for words, name in known.items() if words in system)
