"""Versions learned before hold parameters that the core no longer has, and would not be read."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("recommendations", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "UPDATE factor_versions SET parameters = parameters - '{exploration,topic_share}'::text[]",
            migrations.RunSQL.noop,
        )
    ]
