"""Sign-in by SAML, by django-allauth and python3-saml (optional)."""

from typing import Any, cast

from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.providers.saml import views
from allauth.socialaccount.providers.saml.provider import SAMLProvider as AllauthSAMLProvider
from allauth.socialaccount.providers.saml.utils import get_app_or_404
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path

from policies.signin.sso import ByOurPage, SignInRefused, account_name, configured, identity, texts
from policies.signin.sso_config import SAMLProvider

PERSISTENT_NAME_ID = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"


class SAML(ByOurPage, AllauthSAMLProvider):  # type: ignore[misc]
    def extract_uid(self, data: Any) -> str:
        return identity(self._provider.entity_id, self._subject(data))

    def extract_extra_data(self, data: Any) -> dict[str, Any]:
        provider, attributes = self._provider, data.get_attributes()
        names = {key: values[0] for key, values in attributes.items() if values}
        return {
            "issuer": provider.entity_id,
            "subject": self._subject(data),
            "groups": texts(attributes.get(provider.groups_attribute)),
            "account_name": account_name(names, provider.username_attribute),
        }

    @property
    def _provider(self) -> SAMLProvider:
        return cast(SAMLProvider, configured(self.app.client_id))

    def _subject(self, data: Any) -> str:
        """What names the person for ever: the subject attribute, or a persistent NameID."""
        values = data.get_attributes().get(self._provider.subject_attribute)
        if values and isinstance(values[0], str) and values[0]:
            return values[0]
        if data.get_nameid_format() == PERSISTENT_NAME_ID:
            return str(data.get_nameid())
        raise SignInRefused("its answer has no lasting name for the person")


def finish(request: HttpRequest, organization_slug: str) -> HttpResponse:
    """The provider's answer; what is not even XML is refused like any other."""
    try:
        return cast(HttpResponse, views.finish_acs(request, organization_slug))
    except SignInRefused as refusal:
        return _refused(request, organization_slug, refusal)
    except (SyntaxError, ValueError) as error:
        unreadable = SignInRefused(f"its answer: {type(error).__name__}")
        return _refused(request, organization_slug, unreadable)


def _refused(request: HttpRequest, provider_id: str, refusal: SignInRefused) -> HttpResponse:
    provider = get_app_or_404(request, provider_id).get_provider(request)
    return cast(HttpResponse, render_authentication_error(request, provider, exception=refusal))


def no_single_logout(request: HttpRequest, organization_slug: str) -> HttpResponse:
    """Logout requests need no signature, so anybody could send one: none are heard."""
    raise Http404


base = "accounts/saml/<slug:organization_slug>/"
urlpatterns: list[URLPattern] = [
    path(base + "login/", views.login, name="saml_login"),
    path(base + "acs/", views.acs, name="saml_acs"),
    path(base + "acs/finish/", finish, name="saml_finish_acs"),
    path(base + "metadata/", views.metadata, name="saml_metadata"),
    path(base + "sls/", no_single_logout, name="saml_sls"),
]
