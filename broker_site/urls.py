"""All addresses of the service."""

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from broker_site import health
from broker_site.metrics import metrics
from broker_site.problems import NOT_FOUND, error_view, failure_view
from policies.release import release
from policies.signin import account_urls
from policies.signin.account import account
from staff.data_rates import data_rates
from staff.desk import access_desk
from tiled.views import AboutView

api: list[URLPattern | URLResolver] = [
    path("", AboutView.as_view(), name="api-root"),
    path("", include("live.urls")),  # headers/live/ is no run
    path("", include("events.archive_urls")),  # nor is headers/archive/
    path("", include("headers.urls")),
    path("", include("events.urls")),
    path("", include("tiled.urls")),
    path("", include("writing.urls")),
    path("auth/", include("policies.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
]


def nothing_here(request: HttpRequest, named: str) -> HttpResponse:
    """In place of the admin's view-on-site, which tells all staff whether a row exists."""
    raise Http404


urlpatterns = [
    path("api/v1/", include(api)),  # what is asked for most is looked at first
    path("", RedirectView.as_view(pattern_name="runs"), name="home"),
    path("", include("headers.page_urls")),
    path("", include("live.page_urls")),
    path("account/", account, name="account"),
    path("proposals/<str:proposal_id>/release/", release, name="release"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(), name="docs"),
    path("admin/access/", admin.site.admin_view(access_desk), name="access-desk"),
    path("admin/data-rates/<str:name>/", admin.site.admin_view(data_rates), name="data-rates"),
    path("admin/r/<path:named>", nothing_here),
    path("admin/", admin.site.urls),
    path("", include(account_urls)),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]

handler400 = error_view(400, "The request is malformed.")
handler403 = error_view(403, "You may not do this.")
handler404 = error_view(404, NOT_FOUND)
handler500 = failure_view("Something went wrong here. Tell the operators the X-Request-ID.")
