// A small page's use of docs/admint.d.ts: it must compile with `tsc --strict`, and the lines that are marked must not.
import type { components, operations, paths } from "../../docs/admint";

type Schemas = components["schemas"];
type Order = NonNullable<paths["/api/v1/generations"]["post"]["requestBody"]>["content"]["application/json"];
type Created = paths["/api/v1/generations"]["post"]["responses"][202]["content"]["application/json"];

export async function order(server: string, key: string): Promise<Created> {
  const body: Order = {
    recipe: "express",
    brief: { prompt: "An ad for a steel water bottle", duration: 9, aspect_ratio: "9:16" },
    approvals: ["story"],
  };
  const answer = await fetch(`${server}/api/v1/generations`, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", "Idempotency-Key": "order-17" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) {
    const { error }: Schemas["ErrorResponse"] = await answer.json();
    throw new Error(told(error.code, error.message));
  }
  return answer.json();
}

export function told(code: Schemas["ErrorCode"], message: string): string {
  switch (code) {
    case "queue_full":
    case "not_ready":
      return "The server is busy: try again in a moment.";
    // @ts-expect-error: the codes are a closed list
    case "no_such_code":
    default:
      return message;
  }
}

export function follow(socket: WebSocket, show: (text: string) => void): void {
  socket.onmessage = ({ data }: MessageEvent<string>) => {
    const message: Schemas["SessionMessage"] = JSON.parse(data);
    switch (message.type) {
      case "stage_progress":
        return show(`${message.progress ?? 0} %`);
      case "stage_complete":
        return show(message.data.awaiting_approval ? "Your turn" : `Next: ${message.data.next_stage ?? "the end"}`);
      case "stage_error":
        return show(message.message);
      case "conversation_update":
        return show(`${message.data.role}: ${message.data.content}`);
      case "error":
        return show(told(message.error.code, message.error.message));
      case "heartbeat":
      case "pong":
        return;
      default:
        return message satisfies never; // a message of another type is seen here
    }
  };
  const said: Schemas["SessionCommand"] = { type: "chat", message: "Make scene 2 brighter" };
  socket.send(JSON.stringify(said));
}

export function frames(session: operations["interactive_get_session"]["responses"][200]["content"]["application/json"]): string[] {
  const board = session.outputs.storyboard;
  return board && "images" in board ? board.images.map((image) => image.url) : [];
}
