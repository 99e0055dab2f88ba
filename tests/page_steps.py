"""Actions of a person on a page, for tests without a browser."""

REGISTERED = {}
"""The pages of the dashboard, from its first run in this process."""


def go(app, name, **query):
    """Opens a page directly, as a link with these query parameters does; no other page is drawn before it."""
    if not REGISTERED:
        REGISTERED.update(app.run()._registered_pages)
    app._registered_pages = REGISTERED
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"views/{name}/page.py").run()


def texts(elements):
    """The joined texts of some elements, without the backslashes that keep them from being markup."""
    return " ".join(str(element.value) for element in elements).replace("\\", "")


def button(app, label):
    return next(one for one in app.button if one.label == label)


def type_in(box, text):
    """Types values that are not listed; AppTest knows only listed options."""
    box.options.append(text)
    box.set_value(text)


PATIENCE_MS = 240_000
"""The time after which a browser test gives up waiting, long enough for slow machines."""


def drawn(page):
    """Waits until the page's script has finished."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
