"""Draws a glTF file in headless Chromium, with a reader of its own: what a browser makes of the file."""

import base64
import io

import browser
import numpy as np
import pytest
from PIL import Image

SIDE = 128
_PAGE = """<canvas width={side} height={side}></canvas><pre></pre><script type="module">
const [canvas, answer] = document.body.children, say = text => answer.textContent = text;
try {{
  const bytes = Uint8Array.from(atob("{content}"), c => c.charCodeAt(0)).buffer, head = new DataView(bytes);
  if (head.getUint32(0, true) !== 0x46546C67 || head.getUint32(4, true) !== 2) throw Error("no glTF 2.0");
  const size = head.getUint32(12, true);
  const gltf = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 20, size)));
  const read = index => {{
    const a = gltf.accessors[index], view = gltf.bufferViews[a.bufferView];
    const kind = {{ 5121: Uint8Array, 5125: Uint32Array, 5126: Float32Array }}[a.componentType];
    const width = {{ SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 }}[a.type];
    const start = 28 + size + (view.byteOffset || 0) + (a.byteOffset || 0);
    return [new kind(bytes.slice(start, start + a.count * width * kind.BYTES_PER_ELEMENT)), width, a];
  }};
  const primitive = gltf.meshes[0].primitives[0];
  const gl = canvas.getContext("webgl2", {{ preserveDrawingBuffer: true, antialias: false }});
  if (!gl) throw Error("no WebGL");
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, `
    attribute vec3 place; attribute vec4 colour; attribute vec2 where;
    uniform vec3 low, high; varying vec3 paint; varying vec2 at;
    void main() {{ paint = colour.rgb; at = where;
      gl_Position = vec4(2.0 * (place - low) / (high - low) - 1.0, 1.0) * vec4(1, 1, -1, 1); }}`],
    [gl.FRAGMENT_SHADER, `precision highp float; varying vec3 paint; varying vec2 at;
    uniform bool textured; uniform sampler2D picture;
    void main() {{ gl_FragColor = textured ? texture2D(picture, at) : vec4(mix(12.92 * paint,
      1.055 * pow(paint, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, paint)), 1); }}`]]) {{
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(program, shader);
  }}
  gl.linkProgram(program); gl.useProgram(program); gl.enable(gl.DEPTH_TEST); gl.clear(gl.COLOR_BUFFER_BIT);
  const known = [["place", "POSITION"], ["colour", "COLOR_0"], ["where", "TEXCOORD_0"]];
  for (const [name, attribute] of known.filter(pair => pair[1] in primitive.attributes)) {{
    const [values, width, a] = read(primitive.attributes[attribute]), slot = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer()); gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(slot); gl.vertexAttribPointer(slot, width, a.componentType, name === "colour", 0, 0);
    if (name === "place") for (const [end, key] of [["low", "min"], ["high", "max"]])
      gl.uniform3fv(gl.getUniformLocation(program, end), a[key]);
  }}
  const paint = gltf.materials[primitive.material].pbrMetallicRoughness.baseColorTexture;
  if (paint) {{
    const {{ bufferView, mimeType: type }} = gltf.images[gltf.textures[paint.index].source];
    const view = gltf.bufferViews[bufferView], start = 28 + size + (view.byteOffset || 0);
    const image = await createImageBitmap(new Blob([bytes.slice(start, start + view.byteLength)], {{ type }}));
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.uniform1i(gl.getUniformLocation(program, "textured"), 1);
  }}
  const [triangles, , a] = read(primitive.indices);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
  gl.drawElements(gl.TRIANGLES, triangles.length, a.componentType, 0);
  say(canvas.toDataURL());
}} catch (error) {{ say("failed: " + error.message); }}
</script>"""


def draw_glb(path, folder):
    """Draw the first mesh of a ``.glb`` from the front, without light, stretched over the picture.

    Returns
    -------
    ndarray (SIDE, SIDE, 4)
        uint8; transparent where the mesh is not.
    """
    if browser.PROGRAM is None:
        pytest.skip("needs Chromium")
    page = folder / "page.html"
    page.write_text(_PAGE.format(side=SIDE, content=base64.b64encode(path.read_bytes()).decode()))
    with browser.browser(folder) as shown:
        shown.open(page.as_uri(), 400)
        answer = shown.evaluate(
            "new Promise(done => { const look = () => (text => text ? done(text) : setTimeout(look, 20))"
            "(document.querySelector('pre').textContent); look(); })"
        )
    if answer == "failed: no WebGL":
        pytest.skip("Chromium has no WebGL here")
    assert answer.startswith("data:image/png;base64,"), answer
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.split(",")[1]))))
