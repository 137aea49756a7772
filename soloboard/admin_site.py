from django.contrib.admin import AdminSite


class SoloBoardAdminSite(AdminSite):
    site_header = "SoloBoard"
    site_title = "SoloBoard"
    index_title = "Control room"
