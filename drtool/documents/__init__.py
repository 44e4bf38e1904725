"""The documents: YAML text -> typed, frozen models."""

import os

# pydantic would look through every installed distribution for plugins of its own, and run what it finds there
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
