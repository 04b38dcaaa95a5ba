//! Host set-up as a plan of steps, each with its inverse. Pure; imports nothing of ours.
