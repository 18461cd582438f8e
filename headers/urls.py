from django.urls import path

from headers import lists, views

urlpatterns = [
    path("headers/", lists.HeaderListView.as_view(), name="header-list"),
    path("headers/count/", lists.HeaderCountView.as_view(), name="header-count"),
    path("headers/facets/", lists.HeaderFacetsView.as_view(), name="header-facets"),
    path("headers/<str:key>/", views.HeaderDetailView.as_view(), name="header-detail"),
    path("descriptors/<str:uid>/", views.DescriptorDetailView.as_view(), name="descriptor-detail"),
]
