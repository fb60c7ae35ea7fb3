"""How the chat model is trained, on dialogues of the agents and on pictures of the world."""
