"""django-scim2 as an application, with Django's own users and a plain group.

python django_app.py FOLDER TOKEN; keeps its data in FOLDER and prints its base URL when it listens.
"""

import os
import sys
import types
from wsgiref.simple_server import WSGIRequestHandler, make_server

folder, token = sys.argv[1:]

import django  # noqa: E402
from django.conf import settings  # noqa: E402

# The port is known before Django is: it is in what the server says of itself.
server = make_server("127.0.0.1", 0, None, handler_class=type("Quiet", (WSGIRequestHandler,), {"log_message": lambda *_: None}))
port = server.server_port

settings.configure(
    SECRET_KEY="none",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="urls",
    USE_TZ=True,
    APPEND_SLASH=False,
    LOGGING_CONFIG=None,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_scim", "people"],
    AUTH_USER_MODEL="people.User",
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    MIDDLEWARE=["urls.bearer", "django_scim.middleware.SCIMAuthCheckMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "db")}},
    SCIM_SERVICE_PROVIDER={
        "NETLOC": f"127.0.0.1:{port}",
        "SCHEME": "http",
        "AUTHENTICATION_SCHEMES": [{"type": "oauthbearertoken", "name": "OAuth Bearer Token", "description": "RFC 6750"}],
        "GROUP_MODEL": "people.models.Group",
    },
)

MODELS = """
from django.contrib.auth.models import AbstractUser
from django.db import models
from django_scim.models import AbstractSCIMGroupMixin, AbstractSCIMUserMixin

class Group(AbstractSCIMGroupMixin):
    name = models.CharField(max_length=100, unique=True)

class User(AbstractSCIMUserMixin, AbstractUser):
    groups = None
    scim_groups = models.ManyToManyField(Group, related_name="user_set")
"""
app = os.path.join(folder, "people")
os.makedirs(app)
for name, text in [("__init__.py", ""), ("models.py", MODELS)]:
    with open(os.path.join(app, name), "w", encoding="utf-8") as file:
        file.write(text)
sys.path.insert(0, folder)
urls = types.ModuleType("urls")
sys.modules["urls"] = urls
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.auth.models import AnonymousUser  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import include, path  # noqa: E402


def bearer(answer):
    def check(request):
        request.user = AnonymousUser()
        if request.headers.get("Authorization") == f"Bearer {token}":
            request.user = get_user_model()(username="usher", is_active=True)
        return answer(request)

    return check


urls.bearer = bearer
urls.urlpatterns = [path("scim/v2/", include("django_scim.urls", namespace="scim"))]
call_command("migrate", run_syncdb=True, verbosity=0)
server.set_app(get_wsgi_application())
print(f"http://127.0.0.1:{port}/scim/v2", flush=True)
server.serve_forever()
