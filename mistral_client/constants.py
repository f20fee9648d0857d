"""The early client's constants."""

ENDPOINT = "https://api.mistral.ai"
RETRY_STATUS_CODES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 529})
