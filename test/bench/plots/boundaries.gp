set title "Time to plan all chunks of a table, 10,000 rows a chunk" textcolor "#1f2328"
stats data index "boundaries" using 1 nooutput
set xrange [STATS_min / 1.4:STATS_max * 1.4]
set logscale xy
set ytics @times
set xtics @counts
set xlabel "rows in the table" textcolor "#1f2328"
plot data index "boundaries" using 1:7 with linespoints linecolor rgb peer_b pointtype 5 pointsize 0.6 title "NTILE", \
     ''   index "boundaries" using 1:6 with linespoints linecolor rgb peer_a pointtype 7 pointsize 0.6 title "row\\\_number()", \
     ''   index "boundaries" using 1:5 with linespoints linecolor rgb peer_c pointtype 9 pointsize 0.7 title "skip-walk by OFFSET", \
     ''   index "boundaries" using 1:4 with linespoints linecolor rgb ours_b pointtype 5 pointsize 0.6 title "chunks()", \
     ''   index "boundaries" using 1:2 with linespoints linecolor rgb ours_c pointtype 9 pointsize 0.7 title "chunks(), exact => false", \
     ''   index "boundaries" using 1:3 with linespoints linecolor rgb ours_a pointtype 7 pointsize 0.6 title "split() into 100"
