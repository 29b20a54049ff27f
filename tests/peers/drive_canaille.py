"""Canaille, an identity provider, with a SCIM server as the application that it provisions.

usage: drive_canaille.py BASE_URL    (the bearer token is in the environment as USHER_TOKEN)

Reads one command a line from standard input and answers each with one line, both JSON:

    {"do": "create", "what": "User", "set": {"user_name": "ada", ...}}
    {"do": "change", "what": "Group", "name": "Staff", "set": {"members": ["ada"]}}
    {"do": "delete", "what": "User", "name": "ada"}

What goes over the wire is Canaille's own doing: this only changes its database, as its forms and its command line do, and
Canaille's SCIM client follows. An answer is {"warnings": [...]}: Canaille logs what its client could not do and goes on,
so a warning is how most failures show; the rest are errors that it lets through.
"""

import datetime
import json
import logging
import os
import sys
import traceback

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend


class Kept(logging.Handler):
    """Keeps what Canaille warns of, with the error behind it."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.said = []

    def emit(self, record):
        # "SCIM protocol not supported" is at INFO; the rest is at WARNING, from inside an `except`.
        if record.levelno >= logging.WARNING or "SCIM" in record.getMessage():
            why = sys.exc_info()[1]
            source = getattr(getattr(why, "source", None), "text", "")
            self.said.append(" ".join(filter(None, [record.getMessage(), repr(why) if why else "", str(source)])))

    def take(self):
        said, self.said = self.said, []
        return said


def register(base, token):
    """What an administrator does once: an application that is trusted with everybody, and the token it gave."""
    now = datetime.datetime.now(datetime.timezone.utc)
    client = models.Client(client_id="usher", client_name="usher", client_uri=base)
    Backend.instance.save(client)
    Backend.instance.save(
        models.Token(
            token_id="usher", access_token=token, refresh_token="none", client=client, audience=[client], subject=None,
            scope=["openid"], issue_date=now, lifetime=86_400,
        )
    )


def attributes(values):
    """Values as Canaille's models take them: people by their names, a locked account by the time since when."""
    for name, value in values.items():
        if name == "members":
            yield name, [Backend.instance.get(models.User, user_name=member) for member in value]
        elif name == "locked":
            yield "lock_date", datetime.datetime.now(datetime.timezone.utc) if value else None
        else:
            yield name, value


def carry_out(command):
    model = getattr(models, command["what"])
    if command["do"] == "create":
        Backend.instance.save(model(**dict(attributes(command["set"]))))
        return
    instance = Backend.instance.get(model, command["name"])
    if instance is None:
        raise LookupError(f"Canaille has no {command['what']} {command['name']}")
    if command["do"] == "delete":
        Backend.instance.delete(instance)
        return
    for name, value in attributes(command["set"]):
        setattr(instance, name, value)
    Backend.instance.save(instance)


def main():
    base = sys.argv[1]
    kept = Kept()
    app = create_app(
        {
            "SECRET_KEY": "for a test",
            # What Canaille writes its own addresses with.
            "SERVER_NAME": "canaille.localhost",
            "CANAILLE": {"DATABASE": "memory", "LOGGING": {"version": 1, "disable_existing_loggers": False}},
            "CANAILLE_SCIM": {"ENABLE_CLIENT": True},
        }
    )
    app.logger.setLevel(logging.INFO)
    app.logger.addHandler(kept)
    with app.app_context(), Backend.instance.session():
        register(base, os.environ["USHER_TOKEN"])
        for line in sys.stdin:
            try:
                carry_out(json.loads(line))
            except Exception:  # Whatever it is, it is the answer.
                kept.said.append(traceback.format_exc())
            print(json.dumps({"warnings": kept.take()}), flush=True)


if __name__ == "__main__":
    main()
