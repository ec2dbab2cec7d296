# What the pictures share. White behind them, since a page may be dark.
set terminal svg size 860,420 font "Helvetica,Arial,sans-serif,14" background "#ffffff" linewidth 1.4
set output svg
set encoding utf8
set border 3 linecolor "#59636e"
set tics nomirror textcolor "#1f2328"
set grid linecolor "#d1d9e0" linetype 1 linewidth 0.5
set key outside right center Left reverse textcolor "#1f2328" spacing 1.4
# Dark enough on white, and told apart by the colour-blind.
ours_a = "#0550ae"
ours_b = "#1a9e77"
ours_c = "#7b4fbf"
peer_a = "#c0392b"
peer_b = "#d98a00"
peer_c = "#6e7781"
# Seconds as people say them.
set macros
times = '("10 µs" 1e-5, "100 µs" 1e-4, "1 ms" 1e-3, "10 ms" 1e-2, "100 ms" 1e-1, "1 s" 1, "10 s" 10)'
counts = '("1" 1, "10" 10, "100" 100, "1,000" 1e3, "10,000" 1e4, "100,000" 1e5, "1 million" 1e6, "10 million" 1e7, "100 million" 1e8)'
