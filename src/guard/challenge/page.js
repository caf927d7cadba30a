(() => {
const el = id => document.getElementById(id), url = "/.seawall/challenge", status = el("status"), bar = el("bar"),
  { puzzle, bits } = document.body.dataset;
/* SHA-256 of one block: 40 bytes of puzzle and 8 hexadecimal digits of a counter. */
const make = () => {
  const K = new Int32Array(64), H = new Int32Array(8), fraction = x => (x % 1) * 4294967296 | 0;
  for (let n = 2, i = 0; i < 64; n++) {
    let d = 2;
    while (d * d <= n && n % d) d++;
    if (d * d > n) { if (i < 8) H[i] = fraction(n ** .5); K[i++] = fraction(Math.cbrt(n)); }
  }
  const W = new Int32Array(64), hex = v => {
    let r = 0;
    for (let s = 12; s >= 0; s -= 4) { const x = v >> s & 15; r = r << 8 | (x < 10 ? 48 : 87) + x; }
    return r;
  };
  return (puzzle, bits, from, count) => {
    for (let i = 0; i < 40; i += 4) W[i / 4] = puzzle.charCodeAt(i) << 24 | puzzle.charCodeAt(i + 1) << 16 | puzzle.charCodeAt(i + 2) << 8 | puzzle.charCodeAt(i + 3);
    for (let n = from; n < from + count; n++) {
      W[10] = hex(n >>> 16); W[11] = hex(n & 65535); W[12] = 1 << 31; W[13] = W[14] = 0; W[15] = 384;
      let a = H[0], b = H[1], c = H[2], d = H[3], e = H[4], f = H[5], g = H[6], h = H[7];
      for (let i = 0; i < 64; i++) {
        if (i > 15) {
          const x = W[i - 15], y = W[i - 2];
          W[i] = W[i - 16] + W[i - 7] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10);
        }
        const t = h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (e & f ^ ~e & g) + K[i] + W[i] | 0,
          u = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b ^ a & c ^ b & c) | 0;
        h = g; g = f; f = e; e = d + t | 0; d = c; c = b; b = a; a = t + u | 0;
      }
      if (!(H[0] + a >>> 32 - bits)) return n;
    }
    return -1;
  };
};
const fail = text => { status.textContent = text; bar.hidden = true; el("again").hidden = false; el("again").focus(); };
el("again").onclick = () => location.reload();
const show = n => { bar.value = 1 - Math.exp(-n / 2 ** bits); };
const solved = async n => {
  try {
    bar.value = 1;
    const solution = puzzle + n.toString(16).padStart(8, "0");
    const sent = await fetch(url, { method: "POST", headers: { "seawall-solution": solution } });
    if (!sent.ok) return fail("The check has expired.");
    if (!(await fetch(url, { cache: "no-store" })).ok) return fail("Please allow cookies for this site.");
    status.textContent = "Done. The page is loading.";
    location.reload();
  } catch { fail("The site could not be reached."); }
};
const slowly = from => {
  const work = make(), step = () => {
    const n = work(puzzle, bits, from, 5e3);
    if (n >= 0) return solved(n);
    show(from += 5e3);
    setTimeout(step);
  };
  step();
};
bar.hidden = false;
status.textContent = "Checking.";
try {
  const code = `const work=(${make})();onmessage=({data:[p,b]})=>{for(let n=0;;){const r=work(p,b,n,2e4);if(r>=0)return postMessage([1,r]);postMessage([0,n+=2e4])}}`;
  const worker = new Worker(URL.createObjectURL(new Blob([code])));
  worker.onmessage = ({ data: [done, n] }) => done ? solved(n) : show(n);
  worker.onerror = () => slowly(0);
  worker.postMessage([puzzle, bits]);
} catch { slowly(0); }
})();
