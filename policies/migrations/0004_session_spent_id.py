from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('policies', '0003_user_bound_to'),
    ]

    operations = [
        migrations.AddField(
            model_name='session',
            name='spent_id',
            field=models.UUIDField(help_text='jti of the refresh token before that one', null=True),
        ),
    ]
