"""A notification of the browser when a sweep ends, for who asks for it with a button; the browser asks once more before the first.

It holds for this tab, and comes while the tab is open, also behind others. Nothing leaves the machine.
"""

import streamlit as st

_HTML = "<button type='button' class='lab-notify' aria-pressed='false'></button>"
_STYLE = """
.lab-notify { font: inherit; font-size: 0.875rem; color: inherit; background: transparent; padding: 0.25rem 0.75rem;
  min-height: 2.5rem; cursor: pointer; border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius) }
.lab-notify[aria-pressed=true] { border-color: var(--st-primary-color); color: var(--st-primary-color) }
.lab-notify:disabled { opacity: 0.5; cursor: default }
"""
_SCRIPT = """
export default function ({ data, parentElement }) {
  const button = parentElement.querySelector('.lab-notify'), held = 'lab-notify', went = `lab-going-${data.sweep}`
  const on = () => sessionStorage.getItem(held) === 'on' && Notification.permission === 'granted'
  const possible = 'Notification' in window && window.isSecureContext
  const say = () => {
    button.disabled = !possible || Notification.permission === 'denied'
    button.setAttribute('aria-pressed', possible && on())
    button.textContent = possible && on() ? '✓ Notifies you at the end' : 'Notify me at the end'
    button.title = !possible ? 'Browsers notify from this machine or over https only.'
      : Notification.permission === 'denied' ? 'This browser was told not to show notifications of this address.'
      : 'A notification of the browser when a sweep ends, while this tab is open on Live.'
  }
  button.onclick = async () => {
    const wanted = !on()
    if (wanted && Notification.permission === 'default') await Notification.requestPermission()
    sessionStorage.setItem(held, wanted ? 'on' : 'off')
    say()
  }
  say()
  if (data.going) sessionStorage.setItem(went, 'yes')
  else if (sessionStorage.getItem(went)) {
    sessionStorage.removeItem(went)
    if (possible && on()) new Notification('LoRA Lab', { body: data.text, tag: data.sweep })
  }
}
"""
_component = st.components.v2.component("lab_notify", html=_HTML, css=_STYLE, js=_SCRIPT)


def end_notification(sweep: str, text: str, *, going: bool) -> None:
    """Draws the button. ``text`` is what is said once the sweep, which was seen ``going`` in this tab, has ended."""
    _component(data={"sweep": sweep, "text": text, "going": going}, key="end_notification", width="content")
