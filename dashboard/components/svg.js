// shows our own SVG: st.html removes SVGs, and in st.image they do not follow the theme. It must never contain text that a person typed
export default function ({ data, parentElement }) {
  parentElement.querySelector('.lab-picture').innerHTML = data.picture
}
