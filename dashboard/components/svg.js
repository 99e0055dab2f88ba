// an SVG of our own: st.html takes it out, and in st.image it knows no theme. Nothing that a person typed may be part of it
export default function ({ data, parentElement }) {
  parentElement.querySelector('.lab-picture').innerHTML = data.picture
}
