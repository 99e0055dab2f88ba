export default function ({ data, parentElement }) {
  const button = parentElement.querySelector('.lab-notify'), held = 'lab-notify', went = `lab-going-${data.sweep}`
  const on = () => sessionStorage.getItem(held) === 'on' && Notification.permission === 'granted'
  const possible = 'Notification' in window && window.isSecureContext
  const say = () => {
    button.hidden = !data.going
    button.disabled = !possible || Notification.permission === 'denied'
    button.setAttribute('aria-pressed', possible && on())
    button.textContent = possible && on() ? '✓ Notifies you at the end' : 'Notify me at the end'
    button.title = !possible ? 'Browsers show notifications only from this machine or over https.'
      : Notification.permission === 'denied' ? 'Notifications from this address are blocked in this browser.'
      : 'The browser shows a notification when a sweep ends, while this tab is open on Live.'
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
