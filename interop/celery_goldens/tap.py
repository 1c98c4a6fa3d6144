"""Notes everything that is published over kombu's memory transport, and every document that is stored."""

import base64
import json
import threading

from celery.backends.cache import CacheBackend
from kombu.transport.virtual import Channel

from .files import Raw
from .stable import Stable

WAIT_SECONDS = 20


class Tap:
    """What was published and stored since `clear`."""

    def __init__(self):
        self.changed = threading.Condition()
        self.published = []
        self.stored = []
        augment, store = Channel._inplace_augment_message, CacheBackend._set_with_state

        def augmented(channel, message, exchange, routing_key):
            augment(channel, message, exchange, routing_key)
            self._note(self.published, (exchange, routing_key, json.dumps(message)))

        def storing(backend, key, value, state):
            self._note(self.stored, (state, value))
            return store(backend, key, value, state)

        Channel._inplace_augment_message = augmented
        CacheBackend._set_with_state = storing

    def _note(self, where, what):
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def clear(self):
        with self.changed:
            self.published.clear()
            self.stored.clear()

    def clear_of(self, *exchanges):
        with self.changed:
            self.published[:] = [published for published in self.published if published[0] not in exchanges]

    def wait(self, found):
        """What `found` gives once it gives something; it is asked whenever something was noted."""
        with self.changed:
            if not self.changed.wait_for(found, WAIT_SECONDS):
                raise TimeoutError(f"not seen: {found.__doc__}; published {self.published}, stored {self.stored}")
            return found()

    def to(self, exchange):
        return [published for published in self.published if published[0] == exchange]


TAP = Tap()


def message(name, published, stable=None, **fixed):
    """A case from what was published once."""
    exchange, routing_key, envelope = published
    stable = stable or Stable()
    envelope = json.loads(envelope)
    body = base64.b64decode(envelope["body"])
    case = {
        "name": name,
        "exchange": exchange,
        "routing_key": stable.text(routing_key or ""),
        "content_type": envelope["content-type"],
        "content_encoding": envelope["content-encoding"],
        "headers": Raw(stable.json(json.dumps(envelope["headers"]), **fixed)),
        "properties": Raw(stable.json(json.dumps(envelope["properties"]))),
    }
    if envelope["headers"].get("compression") or envelope["content-encoding"] == "binary":
        return {**case, "body_base64": base64.b64encode(body).decode()}
    body = body.decode()
    return {**case, "body": stable.json(body) if case["content_type"] == "application/json" else stable.text(body)}
