"""The access of a request's caller."""

from rest_framework.request import Request

from broker_site.timing import phase
from policies.access import Access
from policies.principals import access_of


def access_for(request: Request) -> Access:
    """What the caller may read, read from the database now."""
    with phase("auth"):
        user = request.user
    with phase("policy"):
        return access_of(user)
