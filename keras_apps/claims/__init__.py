"""Claims: <app>/<claim>.py says what is compared and how it is judged; `python -m keras_apps.claims` runs it."""
