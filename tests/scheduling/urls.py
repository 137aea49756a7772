"""The routes of the product, and one more for the job of these tests.

The product's own routes are made from the registry when they are imported, which is long before a
test registers its job. A root of the tests' own is how Django adds a route, and reloads nothing.
"""

from django.urls import path

from scheduling.views import JobWebhook
from soloboard.urls import handler400, handler404, handler500
from soloboard.urls import urlpatterns as product_urlpatterns

__all__ = ["handler400", "handler404", "handler500", "urlpatterns"]

urlpatterns = [
    *product_urlpatterns,
    path("api/tests/work", JobWebhook.as_view(path="tests/work")),
]
