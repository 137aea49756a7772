"""All settings. Each comes from the environment once (soloboard/env.py) and is read as settings.X."""

import ipaddress
import os
from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF

from soloboard.env import (
    database,
    items,
    log_file,
    mail_server,
    network_probes,
    read_environment,
    share,
    switch,
    weighted_kind,
)

# The matrices of recommendations are small, and the threads of OpenBLAS wait for each other longer than
# they work as soon as something else runs beside them. Read when numpy is imported, which comes later.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

BASE_DIR = Path(__file__).resolve().parent.parent
env = read_environment(BASE_DIR)

# --- The product ----------------------------------------------------------------------------------

#: The public address, without a trailing slash: what QStash calls, and what signatures are bound
#: to.
APP_URL: str = env.str("APP_URL").rstrip("/")
_app_url = urlsplit(APP_URL)
_is_https = _app_url.scheme == "https"
_is_loopback = _app_url.hostname in {"127.0.0.1", "localhost", "::1"}

#: Keys that encrypt stored credentials, the newest first; older ones still decrypt.
SOLOBOARD_SECRET_KEYS: list[str] = items(env, "SOLOBOARD_SECRET_KEYS", str, "NEW_KEY,OLD_KEY")

#: What a Bearer call to a webhook must carry.
CRON_SECRET: str = env.str("CRON_SECRET")

QSTASH_URL: str = env.str("QSTASH_URL", "https://qstash.upstash.io").rstrip("/")
QSTASH_TOKEN: str = env.str("QSTASH_TOKEN")
QSTASH_CURRENT_SIGNING_KEY: str = env.str("QSTASH_CURRENT_SIGNING_KEY")
QSTASH_NEXT_SIGNING_KEY: str = env.str("QSTASH_NEXT_SIGNING_KEY")
#: Starts the id of every schedule, so that two installations can share one QStash account.
QSTASH_SCHEDULE_PREFIX: str = env.str("QSTASH_SCHEDULE_PREFIX", "soloboard")

#: Networks that monitored sites may lie in although they are private, for instance 192.168.1.0/24.
ALLOWED_PRIVATE_NETWORKS = items(
    env, "ALLOWED_PRIVATE_NETWORKS", ipaddress.ip_network, "192.168.1.0/24,10.0.0.0/8"
)
#: Ports of public hosts that may be called beside 80 and 443.
ALLOWED_PORTS: list[int] = items(env, "ALLOWED_PORTS", int, "8443,8080")
#: Asked whether the internet is there when many sites fail at once: of two vendors, made for the
#: purpose, with an empty answer. Empty: never asked.
NETWORK_PROBES: list[str] = network_probes(env)

#: What users may do with an item, and how much each says about taste; below 0 it says the opposite.
ACTION_WEIGHTS: dict[str, float] = {
    "view": 1.0,
    "click": 1.0,
    "like": 1.5,
    "share": 1.5,
    "save": 1.5,
    "purchase": 2.0,
    "dismiss": -1.5,
    **dict(items(env, "ACTION_KINDS", weighted_kind, "listen:1.5,skip:-0.5")),
}

#: Serves the made-up figures of /demo/shop; `make run` switches it on.
SOLOBOARD_DEMO: bool = switch(env, "SOLOBOARD_DEMO", default=False)

#: The share of a list that is kept for new items, and the most of it that one topic may have, both
#: from 0 to 1. None is what the replay of the active version chose.
RECOMMEND_EXPLORATION_SHARE: float | None = share(env, "RECOMMEND_EXPLORATION_SHARE")
RECOMMEND_TOPIC_SHARE: float | None = share(env, "RECOMMEND_TOPIC_SHARE")

# --- E-mail ---------------------------------------------------------------------------------------

#: Where mail is handed in; without EMAIL_URL none is sent, and who wants to send some is told so.
_mail = mail_server(env, "EMAIL_URL")
EMAIL_HOST: str = _mail.host
EMAIL_PORT: int = _mail.port
EMAIL_HOST_USER: str = _mail.user
EMAIL_HOST_PASSWORD: str = _mail.password
EMAIL_USE_TLS: bool = _mail.starttls
EMAIL_USE_SSL: bool = _mail.tls
#: For each step of the conversation.
EMAIL_TIMEOUT = 10
#: The sender of all mail.
DEFAULT_FROM_EMAIL: str = env.str("EMAIL_FROM", f"soloboard@{_app_url.hostname}")

# --- Django ---------------------------------------------------------------------------------------

DEBUG: bool = switch(env, "DEBUG", default=False)
SECRET_KEY: str = env.str("SECRET_KEY")
ALLOWED_HOSTS: list[str] = [
    *filter(None, [_app_url.hostname]),
    *(["localhost", "127.0.0.1", "[::1]"] if _is_loopback else []),
    *items(env, "ALLOWED_HOSTS", str, "board.example.com,board.internal"),
]
ROOT_URLCONF = "soloboard.urls"
WSGI_APPLICATION = "soloboard.wsgi.application"
# The webhooks have no trailing slash, and a redirect would lose the body of a POST.
APPEND_SLASH = False

INSTALLED_APPS = [
    "soloboard.apps.SoloBoardConfig",
    "soloboard.apps.SoloBoardAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
    "encryption",
    "scheduling",
    "sites",
    "alerts",
    "recommendations",
]

MIDDLEWARE = [
    # First, because a host's probe knows neither the public host name nor https.
    "soloboard.health.HealthCheckMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": database(env, "DATABASE_URL")}
DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
# A connection that died with a restarted server is replaced at the start of a request instead of
# failing it.
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL: str = env.str("REDIS_URL")
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "soloboard",
        "OPTIONS": {
            # The default serializer is pickle, which runs code that somebody wrote into Redis.
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "SOCKET_CONNECT_TIMEOUT": 2,
            "SOCKET_TIMEOUT": 5,
        },
    }
}

LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "soloboard.formats"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Before collectstatic (one machine, tests) the files are served from the apps themselves.
WHITENOISE_USE_FINDERS = not (STATIC_ROOT / "staticfiles.json").exists()
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if WHITENOISE_USE_FINDERS
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "dashboard"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Security -------------------------------------------------------------------------------------
# All of it follows from APP_URL: an https address has a proxy in front that ends TLS, a plain one
# is this machine's own loopback.

CSRF_TRUSTED_ORIGINS = [f"{_app_url.scheme}://{_app_url.netloc}"]
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = _is_https
CSRF_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = _is_https
# A webhook is never redirected: QStash counts a redirect as a failure.
SECURE_REDIRECT_EXEMPT = [r"^api/"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _is_https else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if _is_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _is_https
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# As large as a message of QStash's pay-as-you-go plan; a larger body is refused with 413.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

# --- The API --------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    # The session is for staff in the browsable API; the webhooks name their own classes.
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PARSER_CLASSES": [
        "rest_framework.parsers.JSONParser",
        "rest_framework.parsers.FormParser",
    ],
    "EXCEPTION_HANDLER": "scheduling.responses.answer_exception",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "SoloBoard",
    "DESCRIPTION": "Sites, jobs and their runs, and the webhooks that QStash calls.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAdminUser"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/",
}

# --- Logs -----------------------------------------------------------------------------------------

#: None logs to the terminal alone ("-"), for hosts whose disk is read-only.
LOG_FILE = log_file(env, BASE_DIR / "logs" / "app.log")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
        **(
            {
                "file": {
                    # Several processes write the file, so it is reopened, not rotated, when
                    # logrotate moves it.
                    "class": "logging.handlers.WatchedFileHandler",
                    "filename": LOG_FILE,
                    "formatter": "line",
                    "encoding": "utf-8",
                    # An error may quote half of a surrogate pair, and must not cost its line.
                    "errors": "backslashreplace",
                }
            }
            if LOG_FILE
            else {}
        ),
    },
    "root": {"handlers": ["console", "file"] if LOG_FILE else ["console"], "level": "INFO"},
    "loggers": {
        # Their INFO lines hold whole addresses, and those of a monitored site may hold a key.
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        # Its warnings may hold what a service answered, addresses included.
        "apprise": {"level": "ERROR"},
    },
}
