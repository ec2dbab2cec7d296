set title "Time to page N of 100 rows" textcolor "#1f2328"
set logscale xy
set ytics @times
set xtics @counts
set xlabel "N" textcolor "#1f2328"
plot data index "pages" using 1:5 with linespoints linecolor rgb peer_a pointtype 7 pointsize 0.5 title "OFFSET", \
     ''   index "pages" using 1:3 with linespoints linecolor rgb ours_b pointtype 5 pointsize 0.5 title "paginate()", \
     ''   index "pages" using 1:4 with linespoints linecolor rgb ours_c pointtype 9 pointsize 0.6 title "paginate(), exact => false", \
     ''   index "pages" using 1:2 with linespoints linecolor rgb ours_a pointtype 7 pointsize 0.5 title "page(), from the page before"
