"""What litellm.yaml cannot say on its own: keys, one of them with a limit, and a model that echoes."""
import litellm
from fastapi import Request
from litellm import CustomLLM
from litellm.proxy._types import ProxyException, UserAPIKeyAuth

KEYS = {
    "sk-etalon": {},
    # Three calls a window (LITELLM_RATE_LIMIT_WINDOW_SIZE seconds), then 429 with Retry-After.
    "sk-limited": {"rpm_limit": 3},
}


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    key = api_key.removeprefix("Bearer ")
    if key not in KEYS:
        raise ProxyException(message="Authentication Error, Invalid proxy server token passed.", type="auth_error", param="None", code=401)
    return UserAPIKeyAuth(api_key=key, **KEYS[key])


class Echo(CustomLLM):
    """Answers with the text of the last message."""

    def completion(self, model, messages, model_response, **kwargs):
        content = messages[-1]["content"]
        if not isinstance(content, str):
            content = "".join(part.get("text", "") for part in content)
        model_response.choices[0].message.content = content
        model_response.choices[0].finish_reason = "stop"
        words = sum(len(str(m["content"]).split()) for m in messages)
        model_response.usage = litellm.Usage(prompt_tokens=words, completion_tokens=len(content.split()), total_tokens=words + len(content.split()))
        return model_response

    async def acompletion(self, *args, **kwargs):
        return self.completion(*args, **kwargs)


echo = Echo()
