"""What a person does on a page, for tests without a browser."""

REGISTERED = {}
"""The pages of the dashboard, as its first run in this process named them."""


def go(app, name, **query):
    """Opens a page, as a link with these query parameters does from another program: no other page is drawn before it."""
    if not REGISTERED:
        REGISTERED.update(app.run()._registered_pages)
    app._registered_pages = REGISTERED
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"views/{name}/page.py").run()


def texts(elements):
    """All that some elements say."""
    return " ".join(str(element.value) for element in elements)


def button(app, label):
    return next(found for found in app.button if found.label == label)


def type_in(box, text):
    """What a person types who finds no fitting option; AppTest knows listed options only."""
    box.options.append(text)
    box.set_value(text)


PATIENCE_MS = 240_000
"""After which a browser test says that what it waits for does not come, however slow the machine."""


def drawn(page):
    """Waits until the page's script has run to its end."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
