"""Where a picture ends: one walker for each container.

A decoder stops reading at the end of the picture, so it says nothing about what follows; a browser or a ZIP tool may
well read on. A walker follows a format's own structure to the byte where the picture ends, counts its frames and refuses
a picture of too many pixels as soon as its header has announced them. It decodes no pixels;
`imagewarehouse.images.decoding` does that afterwards.

Walkers stand in front of the decoder, so nothing in them may cost much: the number of segments, chunks and entries
they follow is bounded, and what has to look at every byte does it in C.
"""
