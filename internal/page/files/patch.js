// Reading a patch as diff -u writes it.

// split is the lines of a patch by the paths of its files. How long a part is, its head says: a line of a file may look
// like the head of another.
export function split(patch) {
  const out = new Map();
  const lines = patch.split('\n');
  for (let i = 0; i < lines.length;) {
    const binary = lines[i].match(/^Binary files (.*) and (.*) differ$/);
    if (binary) {
      out.set(path(binary[1], binary[2]), ['  a binary file']);
      i++;
      continue;
    }
    if (!lines[i].startsWith('--- ') || !lines[i + 1]?.startsWith('+++ ')) {
      i++;
      continue;
    }
    const to = path(lines[i].slice(4), lines[i + 1].slice(4)), own = [];
    for (i += 2; i < lines.length;) {
      const head = lines[i].match(/^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/);
      if (!head) break;
      own.push(lines[i++]);
      let old = Number(head[1] ?? 1), fresh = Number(head[2] ?? 1);
      while (i < lines.length && (old > 0 || fresh > 0 || lines[i][0] === '\\')) {
        const sign = lines[i][0];
        if (sign === '-' || sign === ' ') old--;
        if (sign === '+' || sign === ' ') fresh--;
        own.push(lines[i++]);
      }
    }
    out.set(to, own);
  }
  return out;
}

// path is the file that a head's two names mean, a/PATH and b/PATH.
function path(from, to) {
  return (to === '/dev/null' ? from : to).slice(1).replaceAll('\\n', '\n').replaceAll('\\t', '\t');
}
