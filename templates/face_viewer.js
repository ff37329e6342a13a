function (root, data) {
  const [image, canvas, bar, beside] = root.children;
  const gl = canvas.getContext("webgl", { antialias: true });
  if (!gl) return; // the picture stays
  const decode = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;
  const triangles = new Uint16Array(decode(data.triangles));

  function load(index) {
    const places = Float32Array.from(new Uint16Array(decode(data.vertices[index])),
      (value, i) => data.low[i % 3] + value / 65535 * data.extent);
    const normals = new Float32Array(places.length);
    for (let t = 0; t < triangles.length; t += 3) {
      const [a, b, c] = [0, 1, 2].map(k => 3 * triangles[t + k]);
      const u = [0, 1, 2].map(k => places[b + k] - places[a + k]);
      const v = [0, 1, 2].map(k => places[c + k] - places[a + k]);
      for (let k = 0; k < 3; k++) {
        const area = u[(k + 1) % 3] * v[(k + 2) % 3] - u[(k + 2) % 3] * v[(k + 1) % 3];
        for (const corner of [a, b, c]) normals[corner + k] += area;
      }
    }
    return [places, normals, new Uint8Array(decode(data.colours[index]))];
  }

  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, `
    attribute vec3 place, normal, colour;
    uniform mat3 turn; uniform vec3 middle; uniform float size;
    varying vec3 facing, paint;
    void main() {
      vec3 p = turn * (place - middle) / size;
      facing = turn * normal;
      paint = pow(colour, vec3(2.2));
      gl_Position = vec4(2.2 * p.xy, -0.4 * p.z, 1.0 - 0.3 * p.z);
    }`], [gl.FRAGMENT_SHADER, `
    precision mediump float;
    varying vec3 facing, paint;
    void main() {
      vec3 n = normalize(facing);
      float key = max(dot(n, normalize(vec3(-0.5, 0.4, 0.8))), 0.0);
      float fill = max(dot(n, normalize(vec3(0.6, 0.2, 0.7))), 0.0);
      gl_FragColor = vec4(pow(paint * (0.25 + 0.65 * key + 0.3 * fill), vec3(1.0 / 2.2)), 1.0);
    }`]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
  gl.clearColor(0.5, 0.5, 0.5, 1);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
  const buffers = ["place", "normal", "colour"].map(name => {
    const buffer = gl.createBuffer(), slot = gl.getAttribLocation(program, name), bytes = name === "colour";
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(slot);
    gl.vertexAttribPointer(slot, 3, bytes ? gl.UNSIGNED_BYTE : gl.FLOAT, bytes, 0, 0);
    return buffer;
  });

  let yaw, pitch, zoom;
  function draw() {
    const side = Math.round(canvas.clientHeight * (window.devicePixelRatio || 1));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    gl.viewport(0, 0, side, side);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    gl.uniformMatrix3fv(gl.getUniformLocation(program, "turn"), false,
      [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy]);
    gl.uniform1f(gl.getUniformLocation(program, "size"), 1.25 * data.extent / zoom);
    gl.drawElements(gl.TRIANGLES, triangles.length, gl.UNSIGNED_SHORT, 0);
  }
  function home() { yaw = 0.35; pitch = 0.05; zoom = 1; draw(); }
  function turn(dx, dy) {
    yaw += dx;
    pitch = Math.max(-1.5, Math.min(1.5, pitch + dy));
    draw();
  }
  function scale(factor) { zoom = Math.max(0.4, Math.min(8, zoom * factor)); draw(); }
  function show(index) {
    const arrays = load(index), middle = [0, 1, 2].map(k => {
      let low = Infinity, high = -Infinity;
      for (let i = k; i < arrays[0].length; i += 3) {
        low = Math.min(low, arrays[0][i]);
        high = Math.max(high, arrays[0][i]);
      }
      return (low + high) / 2;
    });
    gl.uniform3fv(gl.getUniformLocation(program, "middle"), middle);
    buffers.forEach((buffer, i) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, arrays[i], gl.STATIC_DRAW);
    });
    [...bar.querySelectorAll("button")].forEach((button, i) => button.disabled = i === index);
    if (data.photographs) beside.src = data.photographs[index];
    draw();
  }

  const fingers = new Map(); // pointers that are down: mouse, pen or fingers
  const span = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
  canvas.onpointerdown = event => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  };
  canvas.onpointermove = event => {
    const old = fingers.get(event.pointerId);
    if (!old) return;
    const before = fingers.size > 1 ? span() : 0;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (before) scale(span() / before);
    else turn((event.clientX - old.x) / 120, (event.clientY - old.y) / 120);
  };
  canvas.onpointerup = canvas.onpointercancel = event => fingers.delete(event.pointerId);
  canvas.onwheel = event => { event.preventDefault(); scale(Math.exp(-event.deltaY / 600)); };
  canvas.onkeydown = event => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (step) { event.preventDefault(); turn(...step); }
  };
  canvas.ondblclick = home;
  bar.querySelectorAll("button").forEach((button, i) => button.onclick = () => show(i));

  image.hidden = true;
  canvas.hidden = bar.hidden = false;
  if (data.photographs) beside.hidden = false; // the fourth child is the script where there are none
  canvas.style.display = "block";
  yaw = 0.35; pitch = 0.05; zoom = 1;
  show(0);
}
