"""Django's settings, from environment variables with defaults that work on a fresh machine."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from . import environment as env
from .logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent

# --- From the environment -------------------------------------------------------------------------

DEBUG = env.flag(os.environ, "DEBUG", default=False)
HOST = os.environ.get("HOST", "").strip() or "127.0.0.1"
PORT = env.integer(os.environ, "PORT", default=8000, maximum=65535)
DATA_DIR = env.directory(os.environ, "DATA_DIR", default=BASE_DIR / "var")
SECRET_KEY = env.secret(os.environ, "SECRET_KEY", stored_in=DATA_DIR / "secret_key")
TRUSTED_PROXY_COUNT = env.integer(os.environ, "TRUSTED_PROXY_COUNT", default=0)
ALLOWED_HOSTS = env.words(
    os.environ,
    "ALLOWED_HOSTS",
    default=list(
        dict.fromkeys(["localhost", "127.0.0.1", "[::1]", *([HOST] if HOST not in {"0.0.0.0", "::"} else [])])
    ),
)
# Cookies are for https only when a proxy in front speaks it.
SECURE_COOKIES = env.flag(os.environ, "SECURE_COOKIES", default=TRUSTED_PROXY_COUNT > 0)

# --- The runtime; every key is documented in durable.conf.DurableSettings -------------------------

DURABLE: dict[str, Any] = {
    "data_dir": DATA_DIR,
    "redis_url": os.environ.get("REDIS_URL", "").strip() or None,
    "api_auth": env.choice(os.environ, "API_AUTH", default="token", among=("open", "token")),
    "api_scopes": ("objects", "rooms", "counters", "limiter"),
    "trusted_proxy_count": TRUSTED_PROXY_COUNT,
}
if os.environ.get("GATEWAYS", "").strip():
    DURABLE["gateways"] = env.integer(os.environ, "GATEWAYS", default=1, minimum=1)
if os.environ.get("WORKERS", "").strip():
    DURABLE["workers"] = env.integer(os.environ, "WORKERS", default=1, minimum=1)

# --- Composition ----------------------------------------------------------------------------------

INSTALLED_APPS = [
    "durable",  # before daphne: its runserver also runs a worker
    *(["daphne"] if "runserver" in sys.argv[1:2] else []),  # it brings Twisted, which nothing else needs
    "channels",
    "servestatic",  # before staticfiles, so that runserver leaves static files to the middleware
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "ninja",  # its documentation pages from our own static files
    "rooms",
    "counters",
    "limiter",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.middleware.PolicyMiddleware",
    "project.middleware.StaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
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

# --- Data -----------------------------------------------------------------------------------------

DATABASES = {
    "default": env.database(os.environ, "DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'site.sqlite3'}"),
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # Writers queue at BEGIN instead of failing half-way when a reader turns into a writer.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CHANNEL_LAYERS = {"default": {"BACKEND": "project.layers.EnvironmentRedisLayer"}}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# --- Static files ---------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Copies of objects, see docs/backups.md: nobody but the service may read them.
    "durable_backups": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": DATA_DIR / "backups",
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    # Vite already puts hashes into the names of what its entries import; the entries keep fixed names.
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "servestatic.storage.CompressedStaticFilesStorage"
    },
}
SERVESTATIC_ALLOW_ALL_ORIGINS = False
SERVESTATIC_MAX_AGE = (
    0  # ask again each time, 304 unless it changed; what StaticMiddleware calls hashed is kept
)

# --- Security -------------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = SECURE_COOKIES
CSRF_COOKIE_SECURE = SECURE_COOKIES
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

# --- Logging --------------------------------------------------------------------------------------

LOG_LEVEL = env.choice(os.environ, "LOG_LEVEL", default="INFO", among=tuple(logging.getLevelNamesMapping()))
LOGGING = logging_config(console=DEBUG, level=LOG_LEVEL)
