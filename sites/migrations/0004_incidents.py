from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sites", "0003_fan_out"),
    ]

    operations = [
        migrations.AddField(
            model_name="monitoredsite",
            name="streak_since",
            field=models.DateTimeField(
                editable=False,
                help_text="The first of these failed or good attempts in a row.",
                null=True,
            ),
        ),
    ]
