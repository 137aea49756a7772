"""All routes. Those of the API have no trailing slash."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from soloboard.dashboard import dashboard
from soloboard.demo import demo_shop
from soloboard.site_page import site_page

api_docs = SpectacularSwaggerSplitView.as_view(
    url_name="schema", template_name="soloboard/api_docs.html"
)

urlpatterns = [
    path("", dashboard, name="dashboard"),
    path("sites/<int:pk>", site_page, name="site"),
    path("admin/", admin.site.urls),
    path("api/", include("scheduling.urls")),
    path("api/", include("sites.urls")),
    path("api/", include("alerts.urls")),
    path("api/", include("recommendations.urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    *([path("demo/shop", demo_shop)] if settings.SOLOBOARD_DEMO else []),
    path("api/docs", api_docs, name="api-docs"),
]

handler400 = "scheduling.responses.bad_request"
handler404 = "scheduling.responses.not_found"
handler500 = "scheduling.responses.server_error"
