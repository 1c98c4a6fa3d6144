"""The application that is asked: tasks for every way to end, and a clock that stands still."""

from datetime import datetime, timezone

from celery import Celery
from celery.exceptions import Ignore, Reject

#: Far enough that nothing is due or expired while this runs.
NOW = datetime(2030, 1, 2, 3, 4, 5, 6789, tzinfo=timezone.utc)


def make(name="proj", **settings):
    app = Celery(name, broker="memory://", backend="cache+memory://", set_as_current=True)
    # The memory transport looks for messages by the clock.
    app.conf.update(broker_transport_options={"polling_interval": 0.01})
    app.conf.update(accept_content=["json", "msgpack", "yaml"], **settings)
    app.now = lambda: NOW

    @app.task(shared=False, name="proj.add", typing=False)
    def add(x, y=0):
        return x + y

    @app.task(shared=False, name="proj.echo")
    def echo(*args, **kwargs):
        return args[0] if len(args) == 1 and not kwargs else [args, kwargs]

    @app.task(shared=False, name="proj.fails")
    def fails(*args):
        raise KeyError("bad", 7)

    @app.task(shared=False, name="proj.again", bind=True, max_retries=1)
    def again(self):
        if not self.request.retries:
            raise self.retry(exc=ValueError("not yet"), countdown=0)
        return "at last"

    @app.task(shared=False, name="proj.progress", bind=True)
    def progress(self):
        self.update_state(state="PROGRESS", meta={"current": 1, "total": 2})
        return "done"

    @app.task(shared=False, name="proj.ignores")
    def ignores():
        raise Ignore()

    @app.task(shared=False, name="proj.rejects", acks_late=True)
    def rejects():
        raise Reject("no", requeue=False)

    @app.task(shared=False, name="proj.started", track_started=True)
    def started():
        return None

    @app.task(shared=False, name="proj.sends", bind=True)
    def sends(self):
        return add.apply_async((1, 1), task_id="child").as_tuple()

    app.finalize()
    return app
