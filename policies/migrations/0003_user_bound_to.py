from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('policies', '0002_shared_values'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='bound_to',
            field=models.CharField(blank=True, editable=False, help_text='ldap: the directory has signed this account in. Empty: it has not yet.', max_length=40),
        ),
    ]
