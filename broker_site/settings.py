"""Settings of the service. What differs between installations comes from the environment."""

import hashlib
import tomllib
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

from broker_site import environment
from broker_site.environment import ConfigurationError
from headers.catalogs import CatalogsError, load_catalogs
from policies.signin.sso_config import SSO as SSOFile
from policies.signin.sso_config import SSOConfigError, load_ldap, load_sso

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]

DEBUG = environment.boolean("BROKER_DEBUG", default=False)

# Debug mode has keys of its own so that a checkout runs; production has no default.
SECRET_KEY = environment.secret(
    "BROKER_SECRET_KEY", "debug-only-secret-key-" * 2 if DEBUG else None
)
# Keys from before a rotation: they still verify and decrypt, and sign nothing.
SECRET_KEY_FALLBACKS = environment.words("BROKER_SECRET_KEY_FALLBACKS", "")
JWT_KEY = environment.secret("BROKER_JWT_KEY", "debug-only-jwt-key-" * 2 if DEBUG else None)
if SECRET_KEY == JWT_KEY:
    raise ConfigurationError("BROKER_JWT_KEY: must differ from BROKER_SECRET_KEY")

# API tokens: the first pepper signs, the others still verify, so that they can be changed.
TOKEN_PEPPERS = [item.encode() for item in environment.words("BROKER_TOKEN_PEPPERS", "")]
if any(len(pepper) < 32 for pepper in TOKEN_PEPPERS):
    raise ConfigurationError("BROKER_TOKEN_PEPPERS: each needs at least 32 bytes")
if not TOKEN_PEPPERS:
    TOKEN_PEPPERS = [hashlib.sha256(b"API tokens" + SECRET_KEY.encode()).digest()]

ALLOWED_HOSTS = environment.words("BROKER_ALLOWED_HOSTS", "localhost,127.0.0.1")
NUM_PROXIES = environment.integer("BROKER_NUM_PROXIES", 0)
INLINE_BYTES = environment.integer("BROKER_INLINE_BYTES", 2**20)
RESPONSE_BYTES = environment.integer("BROKER_RESPONSE_BYTES", 512 * 2**20)
QUERY_SECONDS = environment.integer("BROKER_QUERY_SECONDS", 10, minimum=1)
METRICS_ALLOWED = environment.networks("BROKER_METRICS_ALLOWED", "127.0.0.1,::1")
METRICS_TOKEN = environment.text("BROKER_METRICS_TOKEN", "")

CATALOGS_FILE = BASE_DIR / environment.text("BROKER_CATALOGS", "catalogs.toml")
try:
    CATALOGS = load_catalogs(CATALOGS_FILE)
except CatalogsError as error:
    raise ConfigurationError(f"BROKER_CATALOGS: {error}") from error

REQUIRE_STAFF_MFA = environment.boolean("BROKER_REQUIRE_STAFF_MFA", default=False)

INSTALLED_APPS = [
    "broker_site",
    "policies",
    "headers",
    "headers.index",
    "headers.annotations",
    "events",
    "live",
    "tiled",
    "writing",
    "staff",
    "staff.admin_config.BrokerAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.mfa",
    "axes",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "broker_site.middleware.RequestContextMiddleware",
    "policies.audit.AuditMiddleware",
    "broker_site.compression.CompressionMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "broker_site.static_files.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "broker_site.middleware.HostMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
if REQUIRE_STAFF_MFA:
    MIDDLEWARE.append("policies.signin.second_factor.StaffSecondFactorMiddleware")

ROOT_URLCONF = "broker_site.urls"
# The service has its host for itself; a SCRIPT_NAME could only come from a caller.
FORCE_SCRIPT_NAME = ""
WSGI_APPLICATION = "broker_site.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
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


def _make_folder(name: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot make the folder {folder}: {error}") from error


# -- The SQL database of people, policies and the index of runs ----------------------------


POSTGRESQL = {"connect_timeout": 5, "tcp_user_timeout": 15_000}
"""seconds and milliseconds, for a server that is gone without a word; the URL may say otherwise"""


def _policy_database(url: str) -> dict[str, Any]:
    scheme = urlsplit(url).scheme
    if scheme not in ("postgres", "postgresql", "pgsql", "sqlite"):
        text = f"DATABASE_URL: needs postgres://…/name or sqlite:///path, not {scheme!r}"
        raise ConfigurationError(text)
    try:
        config: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=600))
    except (ValueError, dj_database_url.ParseError) as error:
        raise ConfigurationError(f"DATABASE_URL: {error}") from error
    if config["ENGINE"] == "django.db.backends.sqlite3":
        path = BASE_DIR / config["NAME"]
        _make_folder("DATABASE_URL", path.parent)
        # A write transaction takes its lock at once: two of them queue instead of failing.
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20}
        options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
        return config | {"NAME": str(path), "OPTIONS": options, "CONN_MAX_AGE": None}
    options = POSTGRESQL | config.get("OPTIONS", {})
    return config | {"CONN_HEALTH_CHECKS": True, "OPTIONS": options}


DATABASES = {
    "default": _policy_database(environment.text("DATABASE_URL", "sqlite:///var/broker.sqlite3"))
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- People ---------------------------------------------------------------------------------

AUTH_USER_MODEL = "policies.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

# -- Sign-in: allauth, told by the sign-on files which providers there are ------------------


def _sign_on_file(variable: str, load: Any) -> Any:
    """What the file that the variable names says; None where it is not set."""
    name = environment.text(variable, "")
    try:
        return load(BASE_DIR / name) if name else None
    except SSOConfigError as error:
        raise ConfigurationError(f"{variable}: {error}") from error


SSO: SSOFile = _sign_on_file("BROKER_SSO", load_sso) or SSOFile()
LDAP = _sign_on_file("BROKER_LDAP", load_ldap)
if SSO.saml:
    if find_spec("onelogin") is None:
        raise ConfigurationError("BROKER_SSO: [[saml]] needs what requirements-saml.txt lists")
    INSTALLED_APPS.append("allauth.socialaccount.providers.saml")

AUTHENTICATION_BACKENDS = [
    # The first one refuses whoever is locked out, before any other sees the password.
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
if LDAP is not None:
    if find_spec("django_auth_ldap") is None:
        raise ConfigurationError("BROKER_LDAP: needs what requirements-ldap.txt lists")
    AUTHENTICATION_BACKENDS.append("policies.signin.ldap.DirectoryBackend")

ACCOUNT_ADAPTER = "policies.signin.sso.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_COOKIE_AGE = 14 * 86_400  # of who signs in with a password and "remember me"
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
# Sign-ins are limited for all doors together; five wrong codes of a second factor wait here.
ACCOUNT_RATE_LIMITS = {"login": None}
SOCIALACCOUNT_ADAPTER = "policies.signin.sso.SocialAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "provider_class": "policies.signin.sso.OIDC",
        "APPS": [provider.for_allauth() for provider in SSO.oidc],
    },
    "saml": {
        "provider_class": "policies.signin.saml.SAML",
        "APPS": [provider.for_allauth() for provider in SSO.saml],
    },
}
MFA_ADAPTER = "policies.signin.second_factor.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "Data Broker Service"
# E-mail addresses play no part in signing in, so they need not be verified for this.
MFA_ALLOW_UNVERIFIED_EMAIL = True

SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": JWT_KEY,
    "ISSUER": "data-broker-service",
    "AUDIENCE": "data-broker-service",
    "USER_ID_CLAIM": "sub",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
}

# -- The API --------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "policies.authentication.BearerAuthentication",
        "policies.authentication.BrowserAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["policies.permissions.ReadOnly"],
    "DEFAULT_RENDERER_CLASSES": [
        "broker_site.renderers.JSONRenderer",
        "broker_site.renderers.BrowsableRenderer",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "broker_site.negotiation.ContentNegotiation",
    "DEFAULT_PARSER_CLASSES": ["broker_site.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "broker_site.openapi.OperationSchema",
    "DEFAULT_THROTTLE_CLASSES": ["policies.throttling.RequestRate"],
    "EXCEPTION_HANDLER": "broker_site.problems.exception_handler",
    "NUM_PROXIES": NUM_PROXIES,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Data Broker Service",
    "DESCRIPTION": "Remote, policy-controlled access to bluesky runs in MongoDB.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    # Beamlines may have the same names.
    "ENUM_NAME_OVERRIDES": {"CatalogEnum": [catalog.name for catalog in CATALOGS]},
    "TAGS": [
        {"name": name, "description": description}
        for name, description in (
            ("headers", "Runs: lists, counts, one run, its streams, tables, arrays and files"),
            ("events", "Events of descriptors, and arrays of one event"),
            ("descriptors", "What the events of a stream hold"),
            ("auth", "Signing in, sessions and API tokens"),
            ("catalogs", "Writing documents of new runs"),
            ("about", "The service itself"),
            ("tiled", "Tiled's protocol, for its clients"),
        )
    ],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "broker_site.openapi.add_examples",
        "broker_site.openapi.describe_streamed",
    ],
}

# -- Limits and the audit trail --------------------------------------------------------------

# Failed sign-ins are counted in the database, for all doors and processes together.
AXES_HANDLER = "policies.signin.lockout.SignInHandler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address"]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_USERNAME_CALLABLE = "policies.signin.lockout.name_of"
AXES_CLIENT_IP_CALLABLE = "policies.addresses.client_network"
AXES_LOCKOUT_CALLABLE = "policies.signin.lockout.locked_out"
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

# Per principal and minute, or hour; 0: without limit. Counted by each process for itself, unless
# BROKER_CACHE_URL names a store that all share.
REQUESTS_USER = environment.integer("BROKER_RATE_USER", 60_000)
REQUESTS_ANON = environment.integer("BROKER_RATE_ANON", 6000)
STREAM_BYTES_USER = environment.integer("BROKER_BYTES_USER", 2**40)
STREAM_BYTES_ANON = environment.integer("BROKER_BYTES_ANON", 2**36)
CACHE_URL = environment.text("BROKER_CACHE_URL", "")
if CACHE_URL and urlsplit(CACHE_URL).scheme not in ("redis", "rediss", "unix"):
    raise ConfigurationError("BROKER_CACHE_URL: needs redis://, rediss:// or unix://")
REDIS = {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "LOCATION": CACHE_URL,
    "KEY_PREFIX": "data-broker",
    "OPTIONS": {
        "serializer": "policies.shared_cache.JSONSerializer",  # the default one unpickles
        "socket_timeout": 1,
        "socket_connect_timeout": 1,
    },
}
CACHES = {
    # What must be right over all workers, such as which one-time codes were used.
    "default": REDIS if CACHE_URL else {"BACKEND": "policies.shared_cache.SQLCache"},
    # What may be counted by each worker for itself.
    "counters": REDIS
    if CACHE_URL
    else {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        # Room for every counter: one that is dropped would forget what it counted.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
}

# TLS, and what goes with it, is the proxy's; secure cookies come with BROKER_NUM_PROXIES, and keys
# have checks of the service's own. What remains of `check --deploy` is worth an operator's look.
SILENCED_SYSTEM_CHECKS = [
    *(f"security.{number}" for number in ("W004", "W008", "W009", "W012", "W016")),
    "drf_spectacular.W001",
]

AUDIT_DAYS = environment.integer("BROKER_AUDIT_DAYS", 400, minimum=1)
AUDIT_IN_BACKGROUND = True

# -- The web side ---------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "var" / "static"
_make_folder("The installation", STATIC_ROOT)
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "broker_site.static_files.VersionedStaticFiles",
        # For the account of nginx, whatever the umask.
        "OPTIONS": {"file_permissions_mode": 0o644, "directory_permissions_mode": 0o755},
    },
}
# Without collectstatic (tests) the files are served from where they are, and not compressed.
WHITENOISE_USE_FINDERS = True
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = (
    "png",
    "gif",
    "jpg",
    "woff",
    "woff2",
    "map",
    "gz",
    "br",
    "txt",
)

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        # Style attributes only: the admin and the plots set them; scripts stay strict.
        "style-src": ["'self'", "'unsafe-inline'"],
        "script-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
# Groups of an identity provider are read at sign-in, so its people sign in every day.
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SAMESITE = "Lax"
# Cookies travel over TLS only, except on a developer's machine and behind no proxy at all.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG and NUM_PROXIES > 0
if NUM_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20

LOGGING_CONFIG = None

from broker_site.logs import configure_logging  # noqa: E402

configure_logging(json_lines=not DEBUG)
