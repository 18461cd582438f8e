"""Pages where people sign in: the part of allauth that is used, at addresses of ours.

Not there, on purpose: signing up with a password, e-mail addresses, password reset by
e-mail, and linking further identities to an account.
"""

from allauth.account import views as account
from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.socialaccount import views as social
from allauth.socialaccount.models import SocialApp, SocialToken
from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from policies.signin import device, sso

# The admin's own sign-in knows no second factor; it sends people to the one door instead.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# Rows of these tables would do nothing here.
admin.site.unregister([EmailAddress, SocialApp, SocialToken])

to_account = RedirectView.as_view(pattern_name="account")
oidc = "accounts/oidc/<slug:provider_id>/login/"

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", account.login, name="account_login"),
    path("login/", account.login, name="login"),
    path("logout/", account.logout, name="account_logout"),
    path("logout/", account.logout, name="logout"),
    path("device/", device.confirm, name="device"),
    path("accounts/inactive/", account.account_inactive, name="account_inactive"),
    # Who has no password here gets none: the institution decides who may sign in.
    path("accounts/no-password/", to_account, name="account_set_password"),
    path("accounts/password/", account.password_change, name="account_change_password"),
    path("accounts/reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("accounts/cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path(oidc, sso.oidc_login, name="openid_connect_login"),
    path(oidc + "callback/", sso.oidc_callback, name="openid_connect_callback"),
]
if settings.SSO.saml:
    urlpatterns.append(path("", include("policies.signin.saml")))
